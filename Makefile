# The front door. Every target installs what is missing, configures its own build folder and leaves
# the rest to Meson. Folders: build (release), build-asan, build-tsan, build-debug, build-fuzz,
# build-clang. `make help` lists the targets.

.DEFAULT_GOAL := all
SHELL := /bin/bash
.SHELLFLAGS := -u -o pipefail -c

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
WERROR ?= false
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
TEMPLATES ?=
STORE ?= template-worker.db
BENCH_FOLDER ?= build/bench-store
TEST_ARGS ?=

configure = tools/configure.sh
scripts = $(wildcard tests/luau tests/limits tests/regression)
test = meson test --print-errorlogs --num-processes $(JOBS) $(TEST_ARGS)

.PHONY: all help deps run test quick-test asan tsan stress debug clang fuzz bench bench-vm \
	bench-worker bench-vm-smoke bench-store bench-http format check-format tidy install uninstall clean

all: deps
	@$(configure) build -Doptimization=2 -Ddebug=true --prefix=$(PREFIX) -Dwerror=$(WERROR)
	@ninja -C build -j $(JOBS)

help:
	@echo 'make               optimised build: build/template-worker'
	@echo 'make run           build, then serve the store STORE ($(STORE)) on'
	@echo '                   127.0.0.1:60000, and the folder TEMPLATES if it is given'
	@echo 'make test          build and run every test'
	@echo 'make asan, tsan    the same with clang and AddressSanitizer + UBSan, ThreadSanitizer'
	@echo 'make stress        debug build; scripts with a collection at every allocation'
	@echo 'make clang         optimised build with clang, and its tests'
	@echo 'make fuzz          each fuzzer for FUZZ_SECONDS (60) seconds'
	@echo 'make bench         programs against lua5.4 and luajit; see also bench-vm,'
	@echo '                   bench-worker, bench-store, bench-http'
	@echo 'make check-format  clang-format and the house rules (tools/tidy.py)'
	@echo 'make format        clang-format in place'
	@echo 'make install       binary, libluau, luau.h and luau.pc under PREFIX ($(PREFIX))'

deps:
	@tools/install-deps.sh build

run: all
	@exec build/template-worker serve --store $(STORE) $(if $(TEMPLATES),--templates $(TEMPLATES))

test: all
	@$(test) -C build

# Without the scripts and servers: seconds, for use while editing.
quick-test: all
	@$(test) -C build --suite unit --suite tidy

asan: deps
	@tools/install-deps.sh clang
	@CC=clang $(configure) build-asan -Doptimization=2 -Ddebug=true -Db_sanitize=address,undefined \
		-Db_lundef=false -Dluau_debug=true -Ddefault_library=static -Dwerror=$(WERROR)
	@ninja -C build-asan -j $(JOBS)
	@$(test) -C build-asan --timeout-multiplier 4

# What runs on several threads: scripts and the attacks of tests/hostile have one each.
tsan: deps
	@tools/install-deps.sh clang
	@CC=clang $(configure) build-tsan -Doptimization=2 -Ddebug=true -Db_sanitize=thread \
		-Db_lundef=false -Dluau_debug=true -Ddefault_library=static -Dwerror=$(WERROR)
	@ninja -C build-tsan -j $(JOBS)
	@$(test) -C build-tsan --timeout-multiplier 6 --suite unit --suite http --suite cli \
		--suite threads --no-suite one-thread

debug: deps
	@$(configure) build-debug -Doptimization=2 -Ddebug=true -Dluau_debug=true \
		-Ddefault_library=static -Dwerror=$(WERROR)
	@ninja -C build-debug -j $(JOBS)

# What takes minutes and depends on neither the compiler nor asserts more than the rest does; the
# release and ASan builds run it, the latter with the same asserts.
without_servers = --no-suite hostile --no-suite store --no-suite http

# Everything else once with asserts on, then the scripts with a full collection at every allocation and
# the stack moved at every check: what is not anchored, or points into an old stack, shows.
stress: debug
	@$(test) -C build-debug $(without_servers); status=$$?; \
	python3 tools/run_luau_tests.py --stress --timeout-factor 5 -j $(JOBS) $(scripts) -- \
		build-debug/template-worker run --bare --test-mode gc,stack && exit $$status

clang: deps
	@tools/install-deps.sh clang
	@CC=clang $(configure) build-clang -Doptimization=2 -Ddebug=true -Dwerror=$(WERROR)
	@ninja -C build-clang -j $(JOBS)
	@$(test) -C build-clang $(without_servers)

fuzz: deps
	@tools/install-deps.sh clang
	@CC=clang $(configure) build-fuzz -Doptimization=2 -Ddebug=true -Db_sanitize=address,undefined \
		-Db_lundef=false -Dluau_debug=true -Dfuzzers=true -Ddefault_library=static \
		-Dwerror=$(WERROR)
	@ninja -C build-fuzz -j $(JOBS) fuzzers
	@tools/run_fuzzers.sh build-fuzz $(FUZZ_SECONDS)

bench: all
	@python3 bench/run.py

bench-vm: all
	@build/bench/vm

bench-worker: all
	@build/bench/worker

bench-vm-smoke: all
	@build/bench/vm -c 2000 -n 1000

# What a write costs depends on the disk that the folder is on.
bench-store: all
	@mkdir -p $(BENCH_FOLDER)
	@build/bench/store $(BENCH_FOLDER)
	@build/bench/kv $(BENCH_FOLDER)

bench-http: all
	@bench/http.sh

format:
	@tools/install-deps.sh format
	@tools/format.sh

check-format:
	@tools/install-deps.sh format
	@tools/format.sh --check
	@python3 tools/tidy.py

tidy:
	@python3 tools/tidy.py

install: all
	@meson install -C build --no-rebuild

uninstall:
	@ninja -C build uninstall

clean:
	@rm -rf build build-asan build-tsan build-debug build-clang build-fuzz
