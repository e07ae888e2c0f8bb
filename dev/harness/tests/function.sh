#!/usr/bin/env bash
# A function in bash, for the tests of the harness: does what its event says.
set -u
host=${AWS_LAMBDA_RUNTIME_API%:*} port=${AWS_LAMBDA_RUNTIME_API#*:}

# call METHOD PATH BODY: sets $answer, and $id if the answer has one.
call() {
    exec 3<>"/dev/tcp/$host/$port"
    printf '%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
        "$1" "$2" "${#3}" "$3" >&3
    while read -r name value <&3 && [[ $name != $'\r' ]]; do
        [[ $name == lambda-runtime-aws-request-id: ]] && id=${value%$'\r'}
        [[ $name == lambda-runtime-deadline-ms: ]] && deadline=${value%$'\r'}
    done
    answer=$(cat <&3)
    exec 3>&-
}

if [[ -n ${REFUSE_TO_START:-} ]]; then
    call POST init/error '{"errorMessage":"QUEUE_URL is not set"}'
    exit 1
fi
echo "starting with $(env | wc -l) variables"
while call GET invocation/next ''; do
    echo "event of ${#answer} characters" >&2
    case $answer in
    *die*) exit 7 ;;
    *sleep*) sleep 60 ;;
    *fail*) call POST "invocation/$id/error" '{"errorMessage":"on command"}' ;;
    *garbage*) call POST "invocation/$id/response" '{"batchItem' ;;
    *deadline*) call POST "invocation/$id/response" "$deadline" ;;
    *keep*)
        first=${answer#*'"messageId":"'}
        call POST "invocation/$id/response" "{\"batchItemFailures\":[{\"itemIdentifier\":\"${first%%'"'*}\"}]}"
        ;;
    *) call POST "invocation/$id/response" '{"batchItemFailures":[]}' ;;
    esac
done
