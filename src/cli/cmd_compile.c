/* template-worker compile: the code of a source, for people. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

static void print_help(void)
{
    puts("usage: template-worker compile [--list] [-O LEVEL] FILE\n"
         "\n"
         "  --list     print the instructions of every function (what is done without it, too)\n"
         "  -O LEVEL   optimisation, 0 to 2 (1)\n"
         "\n"
         "Library names are resolved as in run --bare.");
}

static void print_text(const char *text, size_t length, void *userdata)
{
    fwrite(text, 1, length, userdata);
}

static int compile_file(const char *path, int optimization)
{
    Strbuf source = STRBUF_INIT, name = STRBUF_INIT;
    if (!cli_readsource(path, &source)) {
        strbuf_free(&source);
        return EXIT_WORK_FAILED;
    }
    luau_Image *image = luau_image_standard();
    luau_CompileOptions options;
    luau_Diagnostic diagnostic;
    luau_compile_defaults(&options);
    options.image = image;
    if (optimization >= 0)
        options.optimization = optimization;
    strbuf_printf(&name, "@%s", path);
    luau_Module *module = luau_compile(source.data, source.length, strbuf_cstr(&name), &options,
                                       &diagnostic);
    if (module) {
        luau_module_list(module, print_text, stdout);
        luau_module_release(module);
    } else {
        cli_diagnostic(path, source.data, source.length, &diagnostic);
    }
    luau_image_release(image);
    strbuf_free(&source);
    strbuf_free(&name);
    return module ? EXIT_SUCCESS : EXIT_WORK_FAILED;
}

int cmd_compile(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'}, {"list", no_argument, NULL, 'l'}, {0}};
    int optimization = -1;
    uint64_t level;
    for (int option; (option = cli_option(argc, argv, ":hO:", options)) != -1;) {
        switch (option) {
        case 'h': print_help(); return EXIT_SUCCESS;
        case 'l': break;
        case 'O':
            if (!cli_number("-O", optarg, 0, 2, &level))
                return EXIT_USAGE;
            optimization = (int)level;
            break;
        default: return EXIT_USAGE;
        }
    }
    if (optind + 1 != argc) {
        cli_error("compile: one file, please. See template-worker compile --help");
        return EXIT_USAGE;
    }
    return compile_file(argv[optind], optimization);
}
