"""FT.INFO, INFO and MODULE LIST as each engine tells them, made from what the real one says."""

import re

from engines.indexes import Definition, pairs, text
from engines.profiles import Profile

_SECTION = re.compile(r"# search_[a-z_]+\r\n(?:[^#\r\n][^\r\n]*\r\n)*(?:\r\n)?")


def index_info(reply, definition: Definition, profile: Profile, *, backfilling, shape, lag_milliseconds):
    """FT.INFO. ``shape``: "docs" as the developer guide's table has it, "client" as client libraries saw it."""
    documents = int(pairs(reply)["num_docs"])
    if profile.name == "memorydb":
        return _memorydb(definition, documents, backfilling, shape, lag_milliseconds)
    return _valkey(definition, documents, backfilling, profile)


def _memorydb(definition, documents, backfilling, shape, lag_milliseconds):
    fields = []
    for one in definition.fields.values():
        described = ["identifier", one.identifier, "field_name", one.name, "type", one.type, "option", ""]
        if one.type == "VECTOR":
            described += ["vector_params", _vector_params(one, documents)]
        fields.append(described)
    told = ["index_name", definition.name, "creation_timestamp", 1_780_000_000_000_000, "key_type", definition.key_type]
    told += ["key_prefixes", definition.prefixes, "fields", fields, "space_usage", 653_351, "fullext_space_usage", 0]
    if shape == "client":
        told[-2] = "fulltext_space_usage"
        told += ["index_status", "BACKFILLING" if backfilling else "AVAILABLE", "index_degradation_percentage", 0]
    else:
        told += ["backfill_status", "InProgres" if backfilling else "Completed"]
    told += ["vector_space_usage", 653_351, "num_docs", documents, "num_indexed_vectors", documents]
    return [*told, "current_lag", lag_milliseconds]


def _vector_params(one, documents):
    told = ["algorithm", one.options["algorithm"], "data_type", "FLOAT32", "dimension", one.attribute("DIM")]
    told += ["distance_metric", one.options["DISTANCE_METRIC"], "initial_capacity", one.attribute("INITIAL_CAP")]
    told += ["current_capacity", max(1024, documents)]
    if one.options["algorithm"] == "HNSW":
        told += ["maximum_edges", one.attribute("M"), "ef_construction", one.attribute("EF_CONSTRUCTION")]
        told += ["ef_runtime", one.attribute("EF_RUNTIME"), "epsilon", "0.01"]
    return told


def _valkey(definition, documents, backfilling, profile):
    old = profile.module_version < 10200
    count = str if old else int  # 1.0 says numbers as strings
    attributes = []
    for one in definition.fields.values():
        described = ["identifier", one.identifier, "attribute", one.name]
        if one.type == "VECTOR":
            described += ["type", "VECTOR", "index", _valkey_vector(one, documents, count)]
        elif one.type == "TAG":
            described += ["type", "TAG", "SEPARATOR", one.options.get("SEPARATOR", ",")]
            described += [] if old else ["CASESENSITIVE", int("CASESENSITIVE" in one.options)]
            described += ["size", count(documents)]
        else:
            described += ["type", one.type, "size", count(documents)]
        attributes.append(described)
    meaning = ["key_type", definition.key_type, "prefixes", definition.prefixes, "default_score", "1"]
    told = ["index_name", definition.name, *(["index_options", []] if old else [])]
    told += ["index_definition", meaning, "attributes", attributes, "num_docs", count(documents)]
    told += ["num_terms" if old else "total_term_occurrences", count(0), "num_records", count(documents)]
    told += ["hash_indexing_failures", count(0), "backfill_in_progress", str(int(backfilling))]
    told += ["backfill_complete_percent", "0.500000" if backfilling else "1.000000", "mutation_queue_size", count(0)]
    told += ["recent_mutations_queue_delay", "0 sec", "state", "backfill_in_progress" if backfilling else "ready"]
    return told if old else [*told, "language", "english"]


def _valkey_vector(one, documents, count):
    algorithm = ["name", one.options["algorithm"]]
    if one.options["algorithm"] == "HNSW":
        algorithm += ["m", count(one.attribute("M")), "ef_construction", count(one.attribute("EF_CONSTRUCTION"))]
        algorithm += ["ef_runtime", count(one.attribute("EF_RUNTIME"))]
    told = ["capacity", count(max(one.attribute("INITIAL_CAP"), documents)), "dimensions", count(one.attribute("DIM"))]
    told += ["distance_metric", one.options["DISTANCE_METRIC"], "size", count(documents)]
    return [*told, "data_type", "FLOAT32", "algorithm", algorithm]


def server_info(reply: bytes, arguments, profile: Profile, *, indexes, backfilling, lag_milliseconds) -> bytes:
    """INFO without a trace of RediSearch."""
    lines = _SECTION.sub("", text(reply))
    module = f"module:name=search,ver={profile.module_version},"
    lines = re.sub(r"module:name=search,ver=\d+,", module, lines) if profile.module_version else lines
    if not profile.module_version:
        lines = re.sub(r"module:[^\r\n]*\r\n", "", lines)
    lines = re.sub(r"valkey_version:[^\r\n]*", f"valkey_version:{profile.server_version}", lines)
    if {text(one).lower() for one in arguments} & {"search", "all", "everything", "modules"}:
        lines += "\r\n" if lines and not lines.endswith("\r\n\r\n") else ""
        lines += "# search\r\n"
        told = {"search_number_of_indexes": indexes, "search_used_memory_bytes": 653_351}
        if profile.name == "memorydb":
            told |= {"search_max_index_lag_ms": lag_milliseconds, "search_num_active_backfills": int(backfilling)}
            told |= {"search_background_indexing_status": "NO_ACTIVITY", "search_ingestion_paused": 0}
        lines += "".join(f"{name}:{value}\r\n" for name, value in told.items())
    return lines.encode(errors="surrogateescape")


def modules(profile: Profile):
    return [["name", "search", "ver", profile.module_version, "path", "/usr/lib/libsearch.so", "args", []]]


def commands(reply, profile: Profile, *, keep_gaps):
    """COMMAND and COMMAND INFO: those of the profile; search commands have no keys there, and a category."""
    told = []
    for one in reply:
        name = "" if one is None else text(one[0]).upper()
        search = name.startswith("FT.")
        if one is None or name in profile.refused or (search and name not in profile.commands):
            told += [None] if keep_gaps else []
        else:
            told.append([*one[:3], 0, 0, 0, [b"@search"], [], [], []] if search else one)
    return told


def with_ports(value, ports: dict[int, int]):
    """CLUSTER SLOTS and SHARDS with the guards' ports in place of the engines'."""
    if not isinstance(value, list):
        return value
    replaced = [with_ports(one, ports) for one in value]
    for at, one in enumerate(value):
        is_port = value[at - 1] in (b"port", b"tls-port") if at else False  # SHARDS
        is_port = is_port or (at == 1 and len(value) >= 3 and isinstance(value[0], bytes))  # SLOTS: host, port, id
        if is_port and isinstance(one, int):
            replaced[at] = ports.get(one, one)
    return replaced


def with_ports_in_text(reply: bytes, ports: dict[int, int]) -> bytes:
    """CLUSTER NODES, and MOVED or ASK errors: host:port, host:port@bus."""
    return re.sub(rb"(?<=:)(\d+)(?=[@,\s]|\Z)", lambda match: b"%d" % ports.get(int(match[1]), int(match[1])), reply)
