import { create, fromJson, toJson } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { FeatureIndexSchema, FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { OperationSchema } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { expect, test } from "vitest";
import { typeRegistry } from "../src/index.ts";

test("an operation whose result is a message of its service goes to JSON and back", () => {
  const registry = typeRegistry([FeatureIndexService]);
  const made = create(FeatureIndexSchema, { name: "indexes/a", dSae: 2048 });
  const operation = create(OperationSchema, { name: "operations/feature-index/1", result: { case: "response", value: anyPack(FeatureIndexSchema, made) } });
  const json = toJson(OperationSchema, operation, { registry });
  expect(json).toMatchObject({ response: { "@type": "type.googleapis.com/mistral_sae.feature_index.v1.FeatureIndex", dSae: 2048 } });
  expect(fromJson(OperationSchema, json, { registry })).toEqual(operation);
});
