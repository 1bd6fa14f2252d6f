import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/support/longest-first.js";
import { patienceMs, testLimitMs } from "./test/support/patience.js";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/support/global-setup.ts",
    testTimeout: testLimitMs,
    hookTimeout: testLimitMs,
    expect: { poll: { timeout: patienceMs } },
    unstubEnvs: true,
    // Two cores: most files wait for guests and deadlines, and a search keeps one core busy.
    maxWorkers: 4,
    sequence: { sequencer: LongestFirst },
    reporters: ["default", "./test/support/count-reporter.ts"],
  },
});
