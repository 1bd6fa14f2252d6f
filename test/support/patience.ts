// Time limits of tests. No test depends on an idle machine: these limits only end hangs, and assertions are about order and
// outcome. A wait that is part of a test, such as for a deadline to pass, is named in that test.

/** For an event that must happen. */
export const patienceMs = 120_000;

/** For a whole test, including the longest searches. A run that expects hanging tests sets a shorter limit. */
export const testLimitMs = Number(process.env["SWITCHOVER_TEST_LIMIT_MS"] ?? 900_000);
