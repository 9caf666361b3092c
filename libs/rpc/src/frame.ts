import type { DescMessage, Message } from "@bufbuild/protobuf";
import { lengthOf, piecesOf } from "./pieces.ts";

/**
 * A message on its way out, in the shape in which grpc-js takes serialised messages: it asks for the length and has the
 * bytes copied behind a frame's header, nothing else. So a large message is put there at once, and not first together.
 */
export class Frame {
  readonly byteLength: number;
  #pieces: readonly Uint8Array[];
  #target: Uint8Array | undefined;

  constructor(desc: DescMessage, message: Message) {
    this.#pieces = piecesOf(desc, message);
    this.byteLength = lengthOf(this.#pieces);
  }

  copy(target: Uint8Array, start: number): number {
    let at = start;
    for (const piece of this.#pieces) {
      target.set(piece, at);
      at += piece.length;
    }
    this.#pieces = [];
    this.#target = target;
    return this.byteLength;
  }

  /**
   * Gives the memory of a frame that was sent back at once. Left to the collector, a stream of tensors makes V8 mark its
   * whole heap every few dozen megabytes. Only for frames that the network has taken: it reads this memory until then.
   */
  free(): void {
    const { buffer, byteLength } = this.#target ?? {};
    this.#target = undefined;
    // Small frames lie in memory that others share.
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
  }
}
