#!/bin/bash
# Succeeds if the model is AVAILABLE. Usage: health.sh [REST_PORT [HOST]]
set -euo pipefail
exec 3<>"/dev/tcp/${2:-127.0.0.1}/${1:-8501}"
printf 'GET /v1/models/[[ name ]] HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
# Read the whole reply: servers log an error if the connection is closed early.
reply=$(cat <&3)
grep -q '"AVAILABLE"' <<<"$reply"
