import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { ModelInferResponseSchema } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import { DataType, TensorSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { ForwardResponseSchema, GenerateResponseSchema, GetLogitsResponseSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { describe, expect, it } from "vitest";
import { lengthOf, piecesOf } from "../src/pieces.ts";

const data = Uint8Array.from({ length: 10_000 }, (_, i) => i % 251);
const tensor = { dtype: DataType.F32, shape: [5, 500], data };

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(pieces));
}

/** The message that a reader makes of the pieces. */
function read<D extends DescMessage>(desc: D, message: MessageShape<D>): MessageShape<D> {
  return fromBinary(desc, joined(piecesOf(desc, message)));
}

describe("The pieces of a message", () => {
  it("are the message, wherever its large bytes lie", () => {
    const forward = create(ForwardResponseSchema, { promptIndex: 3, hookName: "blocks.1.hook_resid_pre", tokenStart: 7, tensor, last: true });
    expect(read(ForwardResponseSchema, forward)).toEqual(forward);
    const captured = create(GenerateResponseSchema, { event: { case: "captured", value: { variantId: "a", tensor } } });
    expect(read(GenerateResponseSchema, captured)).toEqual(captured);
    const logits = create(GetLogitsResponseSchema, { logits: tensor });
    expect(read(GetLogitsResponseSchema, logits)).toEqual(logits);
    const several = create(ModelInferResponseSchema, { id: "x", rawOutputContents: [data, Uint8Array.of(1), data.subarray(9)] });
    expect(read(ModelInferResponseSchema, several)).toEqual(several);
  });

  it("hold large bytes as views, and all else in one piece", () => {
    const message = create(TensorSchema, tensor);
    const pieces = piecesOf(TensorSchema, message);
    expect(pieces).toHaveLength(3);
    expect(pieces.some((piece) => piece.buffer === data.buffer)).toBe(true);
    expect(lengthOf(pieces)).toBe(toBinary(TensorSchema, message).length);
  });

  it("are one for a message without large bytes", () => {
    const message = create(ForwardResponseSchema, { hookName: "hook", tensor: { ...tensor, data: data.slice(0, 100) } });
    expect(piecesOf(ForwardResponseSchema, message)).toEqual([toBinary(ForwardResponseSchema, message)]);
  });

  it("leave the message as it was", () => {
    const message = create(ForwardResponseSchema, { hookName: "hook", tensor });
    piecesOf(ForwardResponseSchema, message);
    expect(message.tensor?.data).toBe(data);
  });
});
