import type { DType } from "@mistral-sae/tensor";

/** A block of elements in the archive. */
export class StorageRef {
  readonly dtype: DType;
  /** Name of the archive's member under data/. */
  readonly key: string;
  /** Elements. */
  readonly count: number;

  constructor(dtype: DType, key: string, count: number) {
    this.dtype = dtype;
    this.key = key;
    this.count = count;
  }
}

/** A strided view of a storage; offset and strides count elements. */
export class TensorRef {
  readonly storage: StorageRef;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];

  constructor(storage: StorageRef, offset: number, shape: readonly number[], stride: readonly number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.stride = stride;
  }
}

/** A name of the closed list that the pickle may refer to. */
export class Global {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** What a pickle of this kind can hold. */
export type PickleValue = null | boolean | number | string | TensorRef | StorageRef | Global | PickleTuple | PickleValue[] | Map<PickleValue, PickleValue>;

export class PickleTuple {
  readonly items: readonly PickleValue[];

  constructor(items: readonly PickleValue[]) {
    this.items = items;
  }
}
