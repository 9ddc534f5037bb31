#!/bin/bash
# Succeeds once the server says that the model is AVAILABLE. Port and host may be given, for a server elsewhere.
set -euo pipefail
exec 3<>"/dev/tcp/${2:-127.0.0.1}/${1:-8501}"
printf 'GET /v1/models/[[ name ]] HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
# Read to the end: a server does not like it when its reply is cut off.
reply=$(cat <&3)
grep -q '"AVAILABLE"' <<<"$reply"
