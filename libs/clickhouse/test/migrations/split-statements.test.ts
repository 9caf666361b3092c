import { describe, expect, it } from "vitest";
import { splitStatements } from "../../src/index.ts";

describe("splitStatements", () => {
  it("cuts at semicolons and drops what is empty", () => {
    expect(splitStatements("SELECT 1;\n\n;SELECT 2;\n-- the end\n")).toEqual(["SELECT 1", "SELECT 2"]);
  });

  it("does not cut inside strings, quoted names and comments", () => {
    const statements = ["SELECT 'a;b\\';', 'it''s;' /* c;d */", 'SELECT "x;y" -- e;f\n, 1', "SELECT `z;`"];
    expect(splitStatements(statements.join(";\n"))).toEqual(statements);
  });

  it("keeps the comment before a statement with it", () => {
    expect(splitStatements("-- what it is for\nSELECT 1;")).toEqual(["-- what it is for\nSELECT 1"]);
  });
});
