// The receipt by which a destination proves to the source that it has taken the guest. Checks G3 with two real daemons.

import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { readCookie } from "../../../src/drivers/libvirt/cookie/cookie.js";
import { writeCookie } from "../../../src/drivers/libvirt/cookie/write.js";
import { inTwoHosts } from "../../support/host-process.js";
import { testLimitMs } from "../../support/patience.js";
import { StepByStep } from "../../support/step-by-step.js";

test("a Confirm with a forged receipt makes the source settle before it ends its copy", {
  timeout: testLimitMs,
}, async () => {
  await inTwoHosts({}, async (lab) => {
    const steps = await StepByStep.through("perform", lab);
    const { uuid, name } = lab.guest;
    const read = readCookie(steps.cookies.begin, { name, uuid, hostUuid: "", reads: [] });
    const migration = read?.cookie.switchover?.migration ?? "";
    expect(migration).not.toBe("");
    const receipt = "A".repeat(43);
    const forged = writeCookie({
      name,
      uuid,
      hostname: "hostb",
      hostUuid: randomUUID(),
      features: [],
      switchover: { version: 1, migration, backings: [], receipt },
    });
    // Finish was not called: the destination refuses the source that settles, and the source resumes.
    await steps.confirm(forged, 0);
    await lab.runsAt("a");
  });
});
