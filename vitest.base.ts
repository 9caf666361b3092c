import { availableParallelism } from "node:os";
import { defineConfig, type ViteUserConfig } from "vitest/config";

/** The test set-up that every project shares: sentences in test/, one JSON result beside them. */
export function project(name: string, overrides: NonNullable<ViteUserConfig["test"]> = {}): ViteUserConfig {
  return defineConfig({
    test: {
      name,
      include: ["test/**/*.test.ts"],
      testTimeout: 60_000,
      hookTimeout: 120_000,
      expect: { poll: { timeout: 30_000 } },
      // Most files wait for services half of the time: on two cores a second one fills the gaps.
      maxWorkers: Math.max(2, availableParallelism() - 1),
      reporters: ["default", ["json", { outputFile: "test-results.json" }]],
      ...overrides,
    },
  });
}
