"""A contract as data, to be compared with another implementation's.

`tritonclient`'s own descriptors can't be imported beside ours (one descriptor
pool holds one `inference.ModelInferRequest`); `python tests/support/descriptors.py`
in an environment that has tritonclient writes what the comparison reads.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TRITON = Path(__file__).parent / "triton_contract.json"


def described(files: Iterable[Any]) -> dict[str, Any]:
    """Messages, enums and services of some files, by full name."""
    found: dict[str, Any] = {}
    for file in files:
        for message in file.message_types_by_name.values():
            _describe_message(message, found)
        for enum in file.enum_types_by_name.values():
            found[enum.full_name] = {value.name: value.number for value in enum.values}
        for service in file.services_by_name.values():
            found[service.full_name] = {
                method.name: [
                    method.input_type.full_name,
                    method.output_type.full_name,
                    bool(method.client_streaming),
                    bool(method.server_streaming),
                ]
                for method in service.methods
            }
    return found


def _describe_message(message: Any, found: dict[str, Any]) -> None:
    found[message.full_name] = {
        field.name: [
            field.number,
            field.type,
            bool(field.is_repeated),
            (field.message_type or field.enum_type).full_name
            if field.message_type or field.enum_type
            else "",
            field.containing_oneof.name if field.containing_oneof else "",
        ]
        for field in message.fields
    }
    for nested in message.nested_types:
        _describe_message(nested, found)
    for enum in message.enum_types:
        found[enum.full_name] = {value.name: value.number for value in enum.values}


if __name__ == "__main__":
    from tritonclient.grpc import model_config_pb2, service_pb2

    contract = described([service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR])
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(contract[name])}" for name in sorted(contract))
    TRITON.write_text(f"{{\n{lines}\n}}\n")
