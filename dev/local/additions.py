"""What MiniStack lacks or gets wrong of what is needed here, a note of each call of a function or of relay, and what the
inspector shows; `supervise.py` puts it in before the start."""

import json
import re
import time

from ministack import app
from ministack.core import concurrency, iam_actions, responses, router
from ministack.services import athena, cloudwatch_logs, firehose, lambda_svc, sqs, ssm
from ministack.services.cloudformation import provisioners


def create_named_query(logical_id, properties, stack):
    """CloudFormation there does not know AWS::Athena::NamedQuery; Athena there does."""
    _, _, answer = athena._create_named_query(properties)
    return json.loads(answer)["NamedQueryId"], {}


def typed_rows(table, files):
    """Columns as Glue declares them. MiniStack has DuckDB guess them from the values, so that an id becomes a UUID and
    a time of ISO 8601 a timestamp, which neither is in Athena."""
    columns = table["StorageDescriptor"]["Columns"]
    types = ", ".join(f"'{column['Name']}': '{athena._duckdb_type(column)}'" for column in columns)
    folders = athena._hive_options(athena._path_partition_keys(table, files))
    return f"read_json({athena._sql_list(files)}, columns = {{{types}}}, {folders})"


async def save_results(query, save=athena._save_query_results):
    """Where Athena says that they are. MiniStack takes that for a folder, and writes one level below."""
    configuration = athena._executions[query]["ResultConfiguration"]
    url = configuration["OutputLocation"]
    configuration["OutputLocation"] = url.removesuffix(f"{query}.csv")
    await save(query)
    configuration["OutputLocation"] = url


def filter_of_logs(pattern, other=cloudwatch_logs._compile_filter_pattern):
    """Which lines a pattern finds. MiniStack finds all by any that is of JSON; this knows the form that is used here,
    `{ $.message = "text" }`."""
    form = re.fullmatch(r'\{ \$\.(\w+) = "([^"]*)" \}', pattern)
    if not form:
        return other(pattern)

    def finds(line):
        try:
            return json.loads(line)[form[1]] == form[2]
        except (ValueError, LookupError, TypeError):
            return False

    return finds


def with_numbers(provision):
    """A template's number parameters stay texts there, which the poller of SQS and the SDK cannot take for numbers."""

    def provision_with_numbers(*arguments):
        for properties in arguments:
            for numbers in (properties, properties.get("ScalingConfig")) if isinstance(properties, dict) else ():
                for name in {"MaximumBatchingWindowInSeconds", "MaximumConcurrency"} & set(numbers or ()):
                    numbers[name] = int(numbers[name])
        return provision(*arguments)

    return provision_with_numbers


def key_of_its_own(function, credentials=lambda_svc.execution_credentials):
    """An access key with the function's name, by which its calls are recognised among others'."""
    return credentials(function) | {"AWS_ACCESS_KEY_ID": function["FunctionName"]}


def put_of_the_same_type(data, put=ssm._put_parameter):
    """SSM changes no parameter's type."""
    present = ssm._parameters.get(data.get("Name"))
    if present and data.get("Type", present["Type"]) != present["Type"]:
        what = "You can't change a parameter's type: create a new parameter."
        return responses.error_response_json("HierarchyTypeMismatchException", what, 400)
    return put(data)


rows, forgotten = [], 0


def deliver_and_keep(stream, destination, record, *others, deliver=firehose._deliver_to_s3):
    """What the archive's streams have written, for the inspector, which would otherwise read an object for each row."""
    rows.extend(row for row in record.decode(errors="replace").split("\n") if row)
    deliver(stream, destination, record, *others)


def inspect(path, headers, query):
    """What AWS shows nobody: the rows after the first so many, which are forgotten then, and what is in the queues. With
    `hurry`, what waits in a queue before its first receive comes now. For the inspector alone."""
    global forgotten
    if router.extract_access_key_id(headers, query) != "inspector":
        return 403, {"Content-Type": "application/json"}, b"{}"
    _, _, what, seen = path.split("/")
    del rows[: int(seen) - forgotten]
    forgotten = int(seen)
    now = time.time()
    if what == "hurry":
        for queue in sqs._queues.values():
            for message in queue["messages"]:
                if message["receive_count"] == 0:
                    message["visible_at"] = min(message["visible_at"], now)
        concurrency.esm_wake.set()
    messages = [
        {
            "queue": queue["url"],
            "id": message["id"],
            "body": message["body"],
            "reason": message["message_attributes"].get("reason", {}).get("StringValue"),
            "due_ms": int(message["visible_at"] * 1000),
            "is_received": message["receive_count"] > 0 and message["visible_at"] > now,
        }
        for queue in sqs._queues.values()
        for message in list(queue["messages"])
    ]
    answer = {"rows": rows, "messages": messages}
    return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


HOSTS = {"127.0.0.1", "localhost"}


async def for_no_page(scope, receive, send, serve=app.app):
    """MiniStack lets any website read and change everything. The Function URL alone gets what a browser's SDK sends, by
    the proxy; its Host is checked, too, which a website gives that points its own name here."""
    if scope["type"] != "lifespan":
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        is_by_page = "origin" in headers or headers.get("sec-fetch-site", "none") != "none"
        # Whichever port: somebody may stand between, who is on this machine as well.
        if host.split(":")[0] not in HOSTS or (is_by_page and not app._parse_lambda_url(host, scope["path"])):
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 403, "headers": []})
                await send({"type": "http.response.body"})
            return
    await serve(scope, receive, send)


noted = set()


async def note_call(method, path, headers, body, query, request, dispatch=app._dispatch_service_request):
    """Writes what a function, or the command relay, asks for into the log, once: by whom, and IAM's names of the action
    and the resource."""
    if path.startswith("/inspect/"):
        return inspect(path, headers, query)
    function = router.extract_access_key_id(headers, query)
    if function in lambda_svc._functions or function == "relay":
        what = method, path, headers, body, query
        service = router.detect_service(method, path, headers, query)
        action = iam_actions.extract_iam_action(service, *what)
        if path.startswith("/service/"):
            action = f"cloudwatch:{path.rpartition('/')[2]}"  # in CBOR, which CloudWatch alone gets
        if method == "GET" and action and action.startswith("lambda:Put"):
            action = action.replace("Put", "Get", 1)  # MiniStack names both alike
        if not action:
            return await dispatch(method, path, headers, body, query, request)  # MiniStack has no name for it
        where = router.extract_region(headers), responses.get_account_id()
        if function == "relay":
            resources = ["*"]  # as in its policy in the docs; a call in CBOR cannot be read for more
        else:
            resources = [iam_actions.extract_resource_arn(service, *what, *where)]
        if action == "ssm:GetParameters":
            resources = [f"arn:aws:ssm:{':'.join(where)}:parameter{name}" for name in json.loads(body)["Names"]]
        for resource in resources:
            call = json.dumps({"function": function, "action": action, "resource": resource})
            if call not in noted:
                noted.add(call)
                # In one write: another thread logs to the same file.
                print(f"CALL {call}\n", end="", flush=True)
    return await dispatch(method, path, headers, body, query, request)


app.app = for_no_page
app._dispatch_service_request = note_call
firehose._deliver_to_s3 = deliver_and_keep
cloudwatch_logs._compile_filter_pattern = filter_of_logs
lambda_svc.execution_credentials = key_of_its_own
event_source = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
event_source |= {action: with_numbers(event_source[action]) for action in ("create", "update")}
provisioners._RESOURCE_HANDLERS["AWS::Athena::NamedQuery"] = {
    "create": create_named_query,
    "delete": lambda query, properties: athena._delete_named_query({"NamedQueryId": query}),
}
ssm._put_parameter = put_of_the_same_type
athena._table_relation = typed_rows
athena._save_query_results = save_results
