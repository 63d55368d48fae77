#!/bin/sh
# Stands in for whisper-cli where consumers are measured and not engines: for each clip it sleeps
# ENGINE_SECONDS and writes one word.
while [ $# -gt 0 ]; do
    if [ "$1" = "-of" ]; then
        sleep "${ENGINE_SECONDS:-1}"
        printf '%s' '{"result": {"language": "en"}, "transcription": [{"offsets": {"from": 0, "to": 500},' \
            ' "text": " word", "tokens": [{"text": " word", "id": 1, "p": 0.9}]}]}' >"$2.json"
        shift
    fi
    shift
done
