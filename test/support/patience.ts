// How long tests wait. Nothing may depend on an idle machine: these only end what hangs, and what is asserted is order and
// outcome. A wait that is a fact of the test, such as for a deadline that has to pass, is named there.

/** For what must happen. */
export const patienceMs = 120_000;

/** For a whole test, the longest searches among them. A run that expects hanging tests sets a shorter limit. */
export const testLimitMs = Number(process.env["SWITCHOVER_TEST_LIMIT_MS"] ?? 900_000);
