"""Protobuf messages as Triton's HTTP form has them: 64-bit integers are numbers, nothing that has a default is left out."""

from typing import Any

from google.protobuf.message import Message


def plain(message: Message) -> dict[str, Any]:
    """The message's fields by name. Messages and members of a oneof that are not set are left out."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    if _is_map(field):
        of = field.message_type.fields_by_name["value"]
        return {str(key): _one(of, value[key]) for key in sorted(value)}
    return [_one(field, one) for one in value] if field.is_repeated else _one(field, value)


def _one(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
