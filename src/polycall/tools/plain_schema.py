"""Pydantic's JSON schemas, as a model is sent them."""

from __future__ import annotations

from typing import Any

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema

from polycall.schema.walk import as_array


class PlainSchema(GenerateJsonSchema):
    """Schemas without titles made from names, with only what pydantic reads."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No: a name in another spelling tells a model nothing."""
        return False

    def field_is_present(self, field: Any) -> bool:
        """Whether the field is read or, where a result is described, written."""
        if self.mode == "validation":
            if field.get("init") is False:
                return False  # a dataclass gives it a value of its own, and takes no other
            self._check_has_name(field.get("validation_alias"))
        return super().field_is_present(field)

    def _check_has_name(self, alias: Any) -> None:
        """Refuse a field that is read from inside another one alone: its name would be ignored."""
        by_name = self._config.validate_by_name or self._config.populate_by_name
        own = as_array(alias)  # a path, or a list of paths
        if own is None or by_name:
            return
        paths = [path for path in map(as_array, own) if path is not None]
        if any(len(path) == 1 for path in paths):
            return
        path = ".".join(map(str, paths[0] if paths else own))
        raise PydanticInvalidForJsonSchema(
            f"a field is read from {path!r} alone, which no schema describes; give it a name too: "
            "AliasChoices('name', AliasPath(...))"
        )
