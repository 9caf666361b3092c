import { crc32 } from "node:zlib";

/** A tensor to put into a test's .pt file: a strided view of a storage. */
export interface TestTensor {
  /** torch's name of the storage, e.g. FloatStorage. */
  readonly storage: string;
  readonly data: Uint8Array;
  readonly count: number;
  readonly offset?: number;
  readonly shape: readonly number[];
  readonly stride?: readonly number[];
}

export type TestValue = string | number | TestTensor | { readonly dict: Readonly<Record<string, TestValue>> };

export function f32Tensor(values: Float32Array, shape: readonly number[]): TestTensor {
  return { storage: "FloatStorage", data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength), count: values.length, shape };
}

export function i64Tensor(values: readonly number[], shape: readonly number[]): TestTensor {
  return { storage: "LongStorage", data: new Uint8Array(BigInt64Array.from(values, BigInt).buffer), count: values.length, shape };
}

/** A .pt file as torch.save lays it out: a zip of a protocol 2 pickle and the storages. */
export function torchFile(values: Readonly<Record<string, TestValue>>): Uint8Array {
  const storages: Uint8Array[] = [];
  const pickle = [...bytes(0x80, 2), ...dictBytes(values, storages), 0x2e];
  return zip({ "ae/data.pkl": Uint8Array.from(pickle), "ae/byteorder": new TextEncoder().encode("little"), ...Object.fromEntries(storages.map((data, i) => [`ae/data/${i}`, data])) });
}

/** A .pt file around any pickle. */
export function fileOfPickle(pickle: Uint8Array): Uint8Array {
  return zip({ "ae/data.pkl": pickle });
}

const bytes = (...values: number[]): number[] => values;
const text = (value: string): number[] => {
  const encoded = [...new TextEncoder().encode(value)];
  return [0x58, ...u32(encoded.length), ...encoded];
};
const u32 = (value: number): number[] => [...new Uint8Array(Uint32Array.of(value).buffer)];
const int = (value: number): number[] => [0x4a, ...u32(value >>> 0)];
const global = (module: string, name: string): number[] => [0x63, ...new TextEncoder().encode(`${module}\n${name}\n`)];

function dictBytes(values: Readonly<Record<string, TestValue>>, storages: Uint8Array[]): number[] {
  const items = Object.entries(values).flatMap(([key, value]) => [...text(key), ...valueBytes(value, storages)]);
  return [...global("collections", "OrderedDict"), 0x29, 0x52, 0x28, ...items, 0x75];
}

function valueBytes(value: TestValue, storages: Uint8Array[]): number[] {
  if (typeof value === "string") return text(value);
  if (typeof value === "number") return int(value);
  if ("dict" in value) return dictBytes(value.dict, storages);
  const key = String(storages.push(value.data) - 1);
  const tuple = (numbers: readonly number[]): number[] => [0x28, ...numbers.flatMap(int), 0x74];
  const stride = value.stride ?? value.shape.map((_, axis) => value.shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const storage = [0x28, ...text("storage"), ...global("torch", value.storage), ...text(key), ...text("cpu"), ...int(value.count), 0x74, 0x51];
  const hooks = [...global("collections", "OrderedDict"), 0x29, 0x52];
  return [...global("torch._utils", "_rebuild_tensor_v2"), 0x28, ...storage, ...int(value.offset ?? 0), ...tuple(value.shape), ...tuple(stride), 0x89, ...hooks, 0x74, 0x52];
}

function zip(files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  const put = (part: Uint8Array): void => {
    parts.push(part);
    at += part.length;
  };
  for (const [name, data] of Object.entries(files)) {
    const nameBytes = new TextEncoder().encode(name);
    const local = new DataView(new ArrayBuffer(30));
    const central = new DataView(new ArrayBuffer(46));
    local.setUint32(0, 0x04034b50, true);
    central.setUint32(0, 0x02014b50, true);
    for (const [view, crc] of [[local, 14], [central, 16]] as const) {
      view.setUint32(crc, crc32(data), true);
      view.setUint32(crc + 4, data.length, true);
      view.setUint32(crc + 8, data.length, true);
      view.setUint16(crc + 12, nameBytes.length, true);
    }
    central.setUint32(42, at, true);
    directory.push(new Uint8Array(central.buffer), nameBytes);
    put(new Uint8Array(local.buffer));
    put(nameBytes);
    put(data);
  }
  const start = at;
  for (const part of directory) put(part);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(10, Object.keys(files).length, true);
  end.setUint32(12, at - start, true);
  end.setUint32(16, start, true);
  put(new Uint8Array(end.buffer));
  const whole = new Uint8Array(at);
  for (let i = 0, to = 0; i < parts.length; i++) {
    whole.set(parts[i]!, to);
    to += parts[i]!.length;
  }
  return whole;
}
