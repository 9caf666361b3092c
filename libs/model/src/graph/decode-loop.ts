import { onnxDataTypes } from "../onnx/data-type.ts";
import { Graph } from "../onnx/graph.ts";
import { graphHead } from "./head-width.ts";
import { logitsOf } from "./head.ts";
import { addAttention, addMlp, attentionType, settle, type LayerInputs, type Stream } from "./layer.ts";
import type { ModelSource } from "./model-source.ts";
import { attentionValue, embed, layerInputs } from "./segment.ts";
import { addGreedyChoice, addSampledChoice, samplingInputs } from "./token-choice.ts";

/**
 * Several decoding steps in one run: an ONNX Loop around the whole model, in which the cache stays where the provider
 * keeps it and each chosen token is fed to the next step.
 *
 * Inputs: `steps` int64 scalar; `token` int64 [B, 1] to feed first; `seqlens_k` int32 [B] (each row's past); `total_sequence_length`
 * int32 scalar (the largest past + 1); the cache, whose capacity P must hold all steps; when `sampled`, the inputs of
 * {@link samplingInputs}. Outputs: `tokens` int64 [steps, B, 1] as chosen; `resid` f32 [B, 1, D] at the end of the layers of
 * the last step; `present_key_{l}`, `present_value_{l}` f32 [B, KV, P, head].
 */
export function buildDecodeLoop(source: ModelSource, sampled: boolean): Uint8Array {
  const { config } = source;
  const { nLayers, nKeyValueHeads, dModel } = config;
  const outer = new Graph("decode_loop");
  const body = new Graph("decode_step");
  const cacheShape = ["B", nKeyValueHeads, "P", graphHead(config)];
  const cacheType = attentionType(source);
  const caches = Array.from({ length: nLayers }, (_, layer) => [`key_${layer}`, `value_${layer}`]).flat();

  const step = body.input("step", "int64", []);
  const going = body.input("going", "bool", []);
  const token = body.input("step_token", "int64", ["B", 1]);
  const lengths = body.input("step_lengths", "int32", ["B"]);
  const total = body.input("step_total", "int32", []);
  body.input("step_resid", "float32", ["B", 1, dModel]);
  for (const name of caches) body.input(`past_${name}`, cacheType, cacheShape);
  const inputs: LayerInputs = { ...layerInputs(outer, source), lastPositions: lengths, totalLength: total };

  let stream: Stream = { x: embed(body, source, token) };
  const presents: string[] = [];
  for (let layer = 0; layer < nLayers; layer++) {
    const attention = addAttention(body, source, layer, stream, inputs, [`past_key_${layer}`, `past_value_${layer}`], () => undefined);
    presents.push(...attention.present);
    stream = addMlp(body, source, layer, attention.after, () => undefined).after;
  }
  const resid = settle(body, stream);
  const last = body.op("Reshape", [resid, body.int64(-1, dModel)]);
  const logits = logitsOf(body, source, last);
  const chosen = sampled ? addSampledChoice(body, logits, step, samplingInputs(outer)) : addGreedyChoice(body, logits);

  const one = body.constant("one_int32", "int32", [], Int32Array.of(1));
  body.output("going_on", "bool", [], body.op("Identity", [going]));
  body.output("next_token", "int64", ["B", 1], chosen);
  body.output("next_lengths", "int32", ["B"], body.op("Add", [lengths, one]));
  body.output("next_total", "int32", [], body.op("Add", [total, one]));
  body.output("next_resid", "float32", ["B", 1, dModel], resid);
  for (const [i, name] of caches.entries()) body.output(`present_${name}`, cacheType, cacheShape, presents[i]!);
  body.output("scanned_token", "int64", ["B", 1], body.op("Identity", [chosen]));

  const steps = outer.input("steps", "int64", []);
  const yes = outer.constant("yes", "bool", [], Uint8Array.of(1));
  const start = [outer.input("token", "int64", ["B", 1]), outer.input("seqlens_k", "int32", ["B"]), outer.input("total_sequence_length", "int32", []), outer.input("resid_in", "float32", ["B", 1, dModel])];
  const pasts = caches.map((name) => attentionValue(outer, source, outer.input(`past_${name}`, "float32", cacheShape)));
  const outputs = outer.opN("Loop", [steps, yes, ...start, ...pasts], start.length + caches.length + 1, { body: { graph: body.graphBytes() } });
  outer.output("resid", "float32", ["B", 1, dModel], outputs[3]!);
  for (const [i, name] of caches.entries()) {
    const present = outputs[start.length + i]!;
    outer.output(`present_${name}`, "float32", cacheShape, cacheType === "float32" ? present : outer.op("Cast", [present], { to: onnxDataTypes.float32 }));
  }
  outer.output("tokens", "int64", ["steps", "B", 1], outputs.at(-1)!);
  return outer.modelBytes();
}
