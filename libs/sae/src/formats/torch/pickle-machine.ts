import { type DType, InputError } from "@mistral-sae/tensor";
import { Global, PickleTuple, type PickleValue, StorageRef, TensorRef } from "./pickle-values.ts";

const STORAGES: Readonly<Record<string, DType>> = {
  "torch.DoubleStorage": "F64",
  "torch.FloatStorage": "F32",
  "torch.HalfStorage": "F16",
  "torch.BFloat16Storage": "BF16",
  "torch.LongStorage": "I64",
  "torch.IntStorage": "I32",
  "torch.ShortStorage": "I16",
  "torch.CharStorage": "I8",
  "torch.ByteStorage": "U8",
  "torch.BoolStorage": "BOOL",
};
const ORDERED_DICT = "collections.OrderedDict";
const REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2";
const REBUILD_PARAMETER = "torch._utils._rebuild_parameter";
const KNOWN = new Set([ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, ...Object.keys(STORAGES)]);

export const MARK = Symbol("mark");
type Slot = PickleValue | typeof MARK;

/** The stack and memo of pickle, protocols 2 to 4, over the closed list. Its methods are what the opcodes do. */
export class PickleMachine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #file: string;
  readonly #stack: Slot[] = [];
  readonly #memo = new Map<number, PickleValue>();
  #at = 0;

  constructor(bytes: Uint8Array, file: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
  }

  /** Moves past `count` bytes and returns where they start. */
  #skip(count: number): number {
    const start = this.#at;
    if (count < 0 || start + count > this.#bytes.length) throw this.refuse("the pickle ends too soon", `${this.#bytes.length} bytes`, `at least ${start + count} bytes`);
    this.#at = start + count;
    return start;
  }

  /** Where the next byte lies. */
  get position(): number {
    return this.#at;
  }

  /** The last value, when it is the only one. */
  finish(): PickleValue {
    const result = this.pop();
    if (this.#stack.length > 0) throw this.refuse("something is left on the stack", this.#stack.length, 0);
    return result;
  }

  u8(): number {
    return this.#bytes[this.#skip(1)]!;
  }

  u16(): number {
    return this.#view.getUint16(this.#skip(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#skip(4), true);
  }

  skip(count: number): void {
    this.#skip(count);
  }

  /** An integer of `size` little-endian bytes in two's complement. */
  long(size: number): number {
    let value = 0n;
    const start = this.#skip(size);
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[start + i]!);
    const signed = BigInt.asIntN(size * 8, value);
    if (signed > BigInt(Number.MAX_SAFE_INTEGER) || signed < BigInt(Number.MIN_SAFE_INTEGER)) throw this.refuse("a number is too large", signed, "53 bits at most");
    return Number(signed);
  }

  float(): number {
    return this.#view.getFloat64(this.#skip(8), false);
  }

  text(length: number): string {
    const start = this.#skip(length);
    return new TextDecoder().decode(this.#bytes.subarray(start, start + length));
  }

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    const text = this.text((end === -1 ? this.#bytes.length : end) - this.#at);
    this.#skip(1);
    return text;
  }

  push(value: Slot): void {
    this.#stack.push(value);
  }

  /** Takes the topmost value. */
  pop(): PickleValue {
    const value = this.#stack.pop();
    if (value === undefined || value === MARK) throw this.refuse("the pickle takes a value that is not there", "nothing", "a value");
    return value;
  }

  /** The values above the topmost mark, which goes too. */
  popMarked(): PickleValue[] {
    const at = this.#stack.lastIndexOf(MARK);
    if (at === -1) throw this.refuse("the pickle has no mark where one is needed", "nothing", "a mark");
    const values = this.#stack.splice(at + 1) as PickleValue[];
    this.#stack.pop();
    return values;
  }

  remember(index: number): void {
    const top = this.pop();
    this.#memo.set(index, top);
    this.#stack.push(top);
  }

  rememberNext(): void {
    this.remember(this.#memo.size);
  }

  recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.refuse("the pickle recalls a value that it never kept", index, "a kept value");
    this.#stack.push(value);
  }

  /** Puts key, value, key, value … into the dict below. */
  setItems(pairs: PickleValue[]): void {
    const dict = this.pop();
    if (!(dict instanceof Map) || pairs.length % 2 !== 0) throw this.refuse("the pickle sets items of something that is no dict", typeof dict, "a dict");
    for (let i = 0; i < pairs.length; i += 2) dict.set(pairs[i]!, pairs[i + 1]!);
    this.#stack.push(dict);
  }

  append(values: PickleValue[]): void {
    const list = this.pop();
    if (!Array.isArray(list)) throw this.refuse("the pickle appends to something that is no list", typeof list, "a list");
    for (const value of values) list.push(value);
    this.#stack.push(list);
  }

  tuple(items: PickleValue[]): void {
    this.#stack.push(new PickleTuple(items));
  }

  global(module: string, name: string): void {
    const full = `${module}.${name}`;
    if (!KNOWN.has(full)) throw this.refuse(`the pickle refers to "${full}"`, full, `only ${[...KNOWN].join(", ")}`);
    this.#stack.push(new Global(full));
  }

  /** Attributes that pickle would set on an object: an ordered dict's `_metadata`, which says nothing of the weights. */
  build(): void {
    this.pop();
    const target = this.pop();
    if (!(target instanceof Map)) throw this.refuse("the pickle sets attributes of something that is no dict", typeof target, "a dict");
    this.#stack.push(target);
  }

  storage(): void {
    const id = this.pop();
    const [kind, type, key, , count] = id instanceof PickleTuple ? id.items : [];
    const dtype = type instanceof Global ? STORAGES[type.name] : undefined;
    if (kind !== "storage" || dtype === undefined || typeof key !== "string" || typeof count !== "number") {
      throw this.refuse("the pickle refers to something outside that is no storage", typeof kind === "string" ? kind : typeof kind, "a storage");
    }
    this.#stack.push(new StorageRef(dtype, key, count));
  }

  /** The few calls of the closed list, made here by hand. */
  reduce(): void {
    const args = this.pop();
    const callee = this.pop();
    const items = args instanceof PickleTuple ? args.items : [];
    const name = callee instanceof Global ? callee.name : "";
    if (name === ORDERED_DICT && items.length === 0) this.#stack.push(new Map());
    else if (name === REBUILD_TENSOR) this.#stack.push(this.#tensor(items));
    else if (name === REBUILD_PARAMETER && items[0] instanceof TensorRef) this.#stack.push(items[0]);
    else throw this.refuse("the pickle calls something", name === "" ? typeof callee : `${name} with ${items.length} arguments`, `${ORDERED_DICT}(), ${REBUILD_TENSOR} or ${REBUILD_PARAMETER}`);
  }

  #tensor([storage, offset, shape, stride]: readonly PickleValue[]): TensorRef {
    const sizes = countsOf(shape);
    const strides = countsOf(stride);
    if (!(storage instanceof StorageRef) || !isCount(offset) || sizes === undefined || strides === undefined || sizes.length !== strides.length) {
      throw this.refuse("a tensor is not described as torch does it", typeof storage, "storage, offset, shape and strides");
    }
    return new TensorRef(storage, offset, sizes, strides);
  }

  refuse(message: string, got: unknown, wanted: unknown): InputError {
    return new InputError(message, { file: this.#file, field: "data.pkl", got, wanted });
  }
}

// torch itself allows 64.
const MOST_DIMENSIONS = 64;

function countsOf(value: PickleValue | undefined): readonly number[] | undefined {
  return value instanceof PickleTuple && value.items.length <= MOST_DIMENSIONS && value.items.every((item) => isCount(item)) ? value.items : undefined;
}

function isCount(value: PickleValue | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
