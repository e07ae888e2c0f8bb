"""Parses the template's named queries as Athena's SQL: the tests run them, but by DuckDB, which speaks more."""

import json
import sys

import sqlglot

with open(sys.argv[1]) as file:
    template = json.load(file)
for name, resource in template["Resources"].items():
    if resource["Type"] != "AWS::Athena::NamedQuery":
        continue
    match resource["Properties"]["QueryString"]:
        case {"Fn::FindInMap": [table, row, column]}:
            sql = template["Mappings"][table][row][column]
        case {"Fn::Sub": [sql, conditions]}:
            for condition in conditions:
                sql = sql.replace(f"${{{condition}}}", "true")
        case sql:
            pass
    statements = sqlglot.parse(sql, dialect="athena", error_level=sqlglot.ErrorLevel.RAISE)
    if not all(isinstance(statement, sqlglot.exp.Query) for statement in statements):
        sys.exit(f"{name} is no query")
    print(f"{name} is Athena's SQL")
