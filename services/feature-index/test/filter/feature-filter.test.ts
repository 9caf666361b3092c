import { describe, expect, it } from "vitest";
import { featureFilter, featureOrder } from "../../src/filter/feature-filter.ts";

describe("featureFilter", () => {
  it("turns comparisons into SQL with bound values", () => {
    const { sql, params, fields } = featureFilter("frac_nonzero < 0.01 AND (max_activation >= 5e0 OR NOT dead)");
    expect(sql).toBe("(ifNull(if(s.imported = 1, s.given_frac_nonzero, s.n_firings / {counted_tokens:Float64}) < {f0:Float64}, 0) AND ((ifNull(s.max_activation >= {f1:Float64}, 0) OR NOT (s.n_firings = 0 AND s.imported = 0))))");
    expect(params).toEqual({ f0: 0.01, f1: 5 });
    expect([...fields]).toEqual(["frac_nonzero", "max_activation", "dead"]);
  });

  it("joins terms side by side by AND, and takes everything for an empty filter", () => {
    expect(featureFilter("dead explained = false").sql).toBe("((s.n_firings = 0 AND s.imported = 0) AND (e.explanations > 0) = 0)");
    expect(featureFilter("  ").sql).toBe("1");
  });

  it.each([
    ["colour = 1", 'filter: got the field "colour", wanted one of feature_index, n_firings'],
    ["n_firings", "wanted one of = != < <= > >= after n_firings"],
    ["n_firings >", "got the end, wanted a number after n_firings >"],
    ["n_firings > true", 'got "true" at character 13, wanted a number'],
    ["dead > 1", "wanted = true or = false after dead"],
    ["(dead", 'got the end, wanted ")"'],
    ["dead)", 'got ")" at character 5, wanted the end'],
    ["AND dead", "wanted a field"],
    ["dead; DROP TABLE x", 'got "; DROP TABLE x" at character 5'],
    ["toString = 1", "got the field"],
    ["(".repeat(60), "nested deeper than 50"],
    ["dead ".repeat(2_000), "wanted at most 4096"],
  ])("refuses %s", (filter, message) => {
    expect(() => featureFilter(filter)).toThrow(message);
  });
});

describe("featureOrder", () => {
  it("breaks ties by the feature's index", () => {
    expect(featureOrder("max_activation desc, n_firings").sql).toBe("s.max_activation DESC NULLS LAST, if(s.imported = 1, NULL, s.n_firings) ASC NULLS LAST, s.feature_index");
    expect(featureOrder("").sql).toBe("s.feature_index");
  });

  it("refuses what is no order", () => {
    expect(() => featureOrder("max_activation down")).toThrow('got "max_activation down"');
    expect(() => featureOrder("size desc")).toThrow('got the field "size"');
  });
});
