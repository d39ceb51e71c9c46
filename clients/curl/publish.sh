#!/bin/sh
# Publishes each line of standard input, which is JSON, with nothing but curl:
#
#     echo '{"home":3}' | clients/curl/publish.sh http://127.0.0.1:8080 sports.demo
#
# A line that fails for a while (no connection, HTTP 429, 500, 502, 503, 504) is tried again for up to a minute; because it
# bears a name of its own (`dedup`), it is published once all the same. One that is refused for good ends this with what
# the server says. TOPICHUB_TOKEN is shown if it is set. The answer to each line goes to standard output.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: $0 URL TOPIC, with a JSON value on each line of standard input" >&2
    exit 2
fi
url=$1
# Each byte percent-encoded: a topic may have `?`, `#` and `%` in it.
topic=$(printf %s "$2" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g')

# Not in an argument, where everybody on this machine could read it.
token() {
    if [ -n "${TOPICHUB_TOKEN:-}" ]; then printf 'header = "Authorization: Bearer %s"\n' "$TOPICHUB_TOKEN"; fi
}

run=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
number=0
# The last line may lack its end, and none is the name of a file (`@`).
while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    token | curl --config - --silent --show-error --fail-with-body \
        --retry 10 --retry-connrefused --retry-max-time 60 --max-time 10 \
        --header 'Content-Type: application/json' --data-raw "$line" --globoff \
        "$url/topics/$topic?dedup=$run-$number"
    echo
done
