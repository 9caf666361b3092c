export { prepare, moments } from "./prepare";
export { decode, decodeAux, seedDecode, seedDecodeAux, seedFinish } from "./decode";
export { countEntries, ageLatents, placeLatents, placeEntries } from "./invert";
export { gradients } from "./gradients";
export { adam, adamVector } from "./adam";
export { signum, signumVector } from "./signum";
export { columnSquares, divideColumns, projectColumns } from "./columns";
export { widenF32, widenBf16, widenF16 } from "./widen";
