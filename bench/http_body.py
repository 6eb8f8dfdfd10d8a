#!/usr/bin/env python3
"""http_body.py FOLDER GUILDS: writes what bench/http.sh sends.

FOLDER/post.lua is a script for wrk: POST /execute with a Discord-like MESSAGE_CREATE event of about
1.8 KB, for GUILDS guilds in turn. FOLDER/body.json is one such body, for curl.
"""

import json
import os
import sys


def user(number):
    return {"id": str(199737254929760000 + number), "username": f"member{number}",
            "global_name": f"Member Number {number}", "discriminator": "0", "avatar":
            "b3e1f0a9c8d7e6f5a4b3c2d1e0f9a8b7", "public_flags": 64, "bot": False}


def event(guild):
    return {
        "name": "MESSAGE_CREATE", "base_name": "Discord",
        "author": str(199737254929760000 + guild),
        "data": {
            "id": str(1187654321098765000 + guild), "channel_id": "290926444748734465",
            "guild_id": str(290926798626357000 + guild), "type": 0, "tts": False, "pinned": False,
            "mention_everyone": False, "flags": 0, "nonce": "1187654321000000512",
            "timestamp": "2024-01-15T18:30:12.345000+00:00", "edited_timestamp": None,
            "content": "!rank please, and tell me how far it is to the next level \u2014 thanks",
            "author": user(guild),
            "member": {"nick": None, "deaf": False, "mute": False, "pending": False,
                       "joined_at": "2021-03-08T09:10:11.000000+00:00",
                       "roles": [str(290926798626300000 + i * 17) for i in range(5)]},
            "mentions": [user(7), user(8), user(9)],
            "mention_roles": ["290926798626300017"],
            "attachments": [{"id": "1187654321098765999", "filename": "screenshot.png",
                             "size": 48213, "content_type": "image/png", "width": 1280,
                             "height": 720}],
            "embeds": [{"type": "rich", "title": "Next level", "description":
                        "A short description of what the level brings.", "color": 5814783,
                        "fields": [{"name": "xp", "value": "1240", "inline": True}]}],
            "components": [],
        },
    }


def request(guild):
    return json.dumps({"template": "handler", "event": event(guild),
                       "context": {"guild_id": str(290926798626357000 + guild)}},
                      separators=(",", ":"), ensure_ascii=False)


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    folder, guilds = sys.argv[1], int(sys.argv[2])
    bodies = [request(guild) for guild in range(guilds)]
    with open(os.path.join(folder, "body.json"), "w", encoding="utf-8") as file:
        file.write(bodies[0])
    with open(os.path.join(folder, "post.lua"), "w", encoding="utf-8") as file:
        file.write("local bodies = {\n")
        for body in bodies:
            file.write("[==[" + body + "]==],\n")
        file.write("}\n")
        file.write("""local requests, at, bad = {}, 0, 0
function init()
    local headers = {["Content-Type"] = "application/json"}
    for i = 1, #bodies do
        requests[i] = wrk.format("POST", "/execute", headers, bodies[i])
    end
end
function request()
    at = at % #requests + 1
    return requests[at]
end
""")
    print(f"{len(bodies[0].encode())} bytes a request, {guilds} guilds")


if __name__ == "__main__":
    main()
