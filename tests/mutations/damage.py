"""Ways to damage files: bytes anywhere, and the fields of ONNX, safetensors and graph texts."""

from __future__ import annotations

import json
import re
import struct

import numpy as np

EXTREMES = (-(2**63), -(2**31), -1, 0, 1, 2, 2**20, 2**31, 2**40, 2**63 - 1)


def damage_bytes(data: bytes, generator: np.random.Generator) -> bytes:
    """Bytes changed, a piece cut out, doubled or filled, or the end cut off."""
    damaged = bytearray(data)
    at = int(generator.integers(len(damaged)))
    length = int(generator.integers(1, 40))
    match int(generator.integers(5)):
        case 0:
            for place in generator.integers(0, len(damaged), int(generator.integers(1, 9))):
                damaged[place] = int(generator.integers(256))
        case 1:
            del damaged[at : at + length]
        case 2:
            damaged[at:at] = damaged[at : at + length]
        case 3:
            damaged[at : at + length] = bytes([generator.choice([0, 0x7F, 0x80, 0xFF])]) * length
        case _:
            del damaged[at:]
    return bytes(damaged)


# ---- graph texts

EVIL = (
    "__import__('os').system('true')", "open('was-run', 'w')", "exec('1')", "(lambda: 1)()",
    "float32[" + "9" * 4000 + "]", "(" * 5000, "-" * 5000 + "1", "'\\N{DIGIT ONE}'", "1e400", "nan",
    "9" * 30, "\0", "\u2028", "%x", "{}", "()", "[]",
)  # fmt: skip


def damage_text(text: str, generator: np.random.Generator) -> str:
    """One to three changes of characters, lines, numbers, names or attributes; mostly one."""
    for _ in range(min(3, int(generator.geometric(0.7)))):
        text = _damage_once(text, generator)
    return text


def _damage_once(text: str, generator: np.random.Generator) -> str:
    lines = text.split("\n")
    one, other = (int(n) for n in generator.integers(0, len(lines), 2))
    match int(generator.integers(9)):
        case 0:
            at = int(generator.integers(max(len(text), 1)))
            return text[:at] + chr(int(generator.integers(1, 0x250))) + text[at + 1 :]
        case 1:
            lines[one], lines[other] = lines[other], lines[one]
            return "\n".join(lines)
        case 2:
            del lines[one]
            return "\n".join(lines)
        case 3:
            lines.insert(other, lines[one])
            return "\n".join(lines)
        case 4:  # one number
            return _replace_one(
                r"-?\d+", str(generator.choice(np.array(EXTREMES))), text, generator
            )
        case 5:  # a size, wherever it stands: whole graphs of other shapes
            numbers = sorted({*re.findall(r"(?<=[\[,])\d+(?=[\],])", text)}) or ["1"]
            chosen = numbers[int(generator.integers(len(numbers)))]
            size = str(generator.choice(np.array([0, 1, 2, 3, 7, 64, 2**20, 2**31, 2**40, 2**63])))
            return re.sub(rf"(?<=[\[,]){chosen}(?=[\],])", size, text)
        case 6:  # an op, a dtype or an attribute's name for another
            words = re.findall(r"\b[A-Za-z_]\w*\b", text) or ["graph"]
            new = words[int(generator.integers(len(words)))]
            return _replace_one(r"\b[A-Za-z_]\w*\b", new, text, generator)
        case 7:  # an attribute's value
            evil = EVIL[int(generator.integers(len(EVIL)))]
            return _replace_one(r"(?<==)[^,{}=]+(?=[,}])", evil, text, generator)
        case _:  # an attribute
            return _replace_one(r"\w+=[^,{}=]+, ", "", text, generator)


def _replace_one(pattern: str, new: str, text: str, generator: np.random.Generator) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    start, end = found[int(generator.integers(len(found)))].span()
    return text[:start] + new + text[end:]


# ---- safetensors

DTYPES = ("BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "F32", "F64", "I64", "F8_E4M3",
          "f32", "", None)  # fmt: skip


def damage_safetensors(data: bytes, generator: np.random.Generator) -> bytes:
    """Names, dtypes, shapes, offsets and metadata in the header; the length before it."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    notes = header["__metadata__"]
    for _ in range(int(generator.integers(1, 3))):
        names = [name for name in header if name != "__metadata__"]
        name, other = (names[int(n)] for n in generator.integers(0, len(names), 2))
        entry, shape = header[name], header[name]["shape"]
        extreme = int(generator.choice(np.array(EXTREMES)))
        match int(generator.integers(9)):
            case 0 if shape:
                shape[int(generator.integers(len(shape)))] = extreme
            case 1:
                shape.append(int(generator.choice([0, 1, 2, 2**40])))
            case 2:
                entry["dtype"] = DTYPES[int(generator.integers(len(DTYPES)))]
            case 3:
                entry["data_offsets"][int(generator.integers(2))] = extreme
            case 4:
                header[name], header[other] = header[other], header[name]
            case 5 if name != other:
                del header[name]
            case 6:
                header[str(generator.choice(["", "random.key", f"{name} ", "constant/0"]))] = entry
            case 7:
                kind = str(generator.choice([*notes]))
                notes[kind] = damage_text(notes[kind], generator)
            case _ if "graph" in notes:
                notes["graph"] = damage_text(notes["graph"], generator)
    text = json.dumps(header).encode()
    said = len(text)
    if generator.random() < 0.1:
        said = int(generator.choice(np.array([0, 1, said - 1, said + 1, 2**31, 2**62])))
    return struct.pack("<Q", said) + text + body


# ---- ONNX


def damage_onnx(data: bytes, generator: np.random.Generator) -> bytes:
    """Numbers, names, types and dims of the parsed model changed."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    for _ in range(int(generator.integers(1, 4))):
        _damage_model(model, generator)
    return model.SerializeToString()


def _damage_model(model, generator: np.random.Generator) -> None:
    graph = model.graph
    extreme = int(generator.choice(np.array(EXTREMES)))
    match int(generator.integers(6)):
        case 0 | 1:
            _damage_node(_one(graph.node, generator), graph, extreme, generator)
        case 2 if graph.initializer:
            _damage_tensor(_one(graph.initializer, generator), extreme, generator)
        case 3 if graph.input:
            _damage_declared(_one(graph.input, generator).type.tensor_type, extreme, generator)
        case 4:  # a function that calls itself, or that is never called
            made = model.functions.add(name="Again", domain="mine", output=["y"])
            made.opset_import.add(domain="mine", version=1)
            made.node.add(op_type="Again", domain="mine", output=["y"])
            model.opset_import.add(domain="mine", version=1)
            if generator.random() < 0.5:
                node = _one(graph.node, generator)
                node.op_type, node.domain = "Again", "mine"
        case _:
            model.opset_import[0].version = int(generator.integers(-2, 40))


def _one(items, generator: np.random.Generator):
    return items[int(generator.integers(len(items)))]


def _damage_node(node, graph, extreme: int, generator: np.random.Generator) -> None:
    other = _one(graph.node, generator)
    match int(generator.integers(8)):
        case 0 | 1 if node.attribute:
            attribute = _one(node.attribute, generator)
            if attribute.ints:
                attribute.ints[int(generator.integers(len(attribute.ints)))] = extreme
            else:
                attribute.i = extreme
        case 2 if node.attribute:
            _one(node.attribute, generator).type = int(generator.integers(15))
        case 3 if node.attribute:
            del node.attribute[int(generator.integers(len(node.attribute)))]
        case 4:
            node.op_type = other.op_type
        case 5 if node.input:
            names = [*other.output, *node.input, "", "nobody"]
            node.input[int(generator.integers(len(node.input)))] = _one(names, generator)
        case 6 if node.input:
            del node.input[int(generator.integers(len(node.input)))]
        case 7 if node.output:
            del node.output[-1]


def _damage_tensor(tensor, extreme: int, generator: np.random.Generator) -> None:
    from onnx import TensorProto

    match int(generator.integers(4)):
        case 0 if tensor.dims:
            tensor.dims[int(generator.integers(len(tensor.dims)))] = extreme
        case 1:
            tensor.data_type = int(generator.integers(30))
        case 2 if tensor.data_type == TensorProto.INT64 and tensor.raw_data:
            size = len(tensor.raw_data) // 8
            tensor.raw_data = np.full(size, extreme, np.int64).tobytes()
        case _:  # weights in a file, here or outside of the folder
            tensor.data_location = TensorProto.EXTERNAL
            places = ["/etc/passwd", "../w", "model.onnx", "w", "", "/dev/zero"]
            for key, value in (("location", _one(places, generator)), ("length", str(extreme))):
                tensor.external_data.add(key=key, value=value)


def _damage_declared(declared, extreme: int, generator: np.random.Generator) -> None:
    """The dtype, rank and sizes of an input."""
    dims = declared.shape.dim
    match int(generator.integers(4)):
        case 0:
            declared.elem_type = int(generator.choice([1, 2, 6, 7, 9, 10, 11, 16, 3, 99]))
        case 1:
            dims.add(dim_value=int(generator.integers(4)))
        case 2 if dims:
            del dims[0]
        case _ if dims:
            small = int(generator.integers(6))
            _one(dims, generator).dim_value = extreme if generator.random() < 0.5 else small
