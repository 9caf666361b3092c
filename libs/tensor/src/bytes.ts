/** The bytes of any typed array, as a view of the same memory. */
export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** `bytes` itself when it starts on a multiple of `width`, otherwise a copy that does. */
export function aligned(bytes: Uint8Array, width: number): Uint8Array {
  return bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes);
}

/** f32 values in little-endian bytes: a view where alignment allows, otherwise a copy. */
export function f32View(bytes: Uint8Array): Float32Array {
  const source = aligned(bytes, 4);
  return new Float32Array(source.buffer, source.byteOffset, source.byteLength >>> 2);
}

/** u32 values in little-endian bytes: a view where alignment allows, otherwise a copy. */
export function u32View(bytes: Uint8Array): Uint32Array {
  const source = aligned(bytes, 4);
  return new Uint32Array(source.buffer, source.byteOffset, source.byteLength >>> 2);
}

/** u16 values in little-endian bytes: a view where alignment allows, otherwise a copy. */
export function u16View(bytes: Uint8Array): Uint16Array {
  const source = aligned(bytes, 2);
  return new Uint16Array(source.buffer, source.byteOffset, source.byteLength >>> 1);
}
