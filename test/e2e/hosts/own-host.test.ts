// A migration to the host on which the guest already runs, with that host's daemon in this process. Checks G1.

import { expect, test } from "vitest";
import { bitsOf } from "../../../src/drivers/libvirt/client/flags.js";
import { domainStates } from "../../../src/drivers/libvirt/rpc/constants.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { HostInProcess, webDom, webXml } from "../../support/in-process.js";
import { testLimitMs } from "../../support/patience.js";
import { noCookie } from "../../support/step-by-step.js";

const { procedures } = remote;

test("a guest is not changed by a migration to its own host under any of the host's names", {
  timeout: testLimitMs,
}, async () => {
  const host = new HostInProcess();
  await host.start();
  const rpc = await host.rpc();
  await rpc.call(procedures.domainCreateXml, { xmlDesc: webXml, flags: 0 });
  const flags = bitsOf(["LIVE", "PEER2PEER"]);
  const asked = { dom: webDom, dconnuri: host.uri, params: [], cookieIn: noCookie, flags };
  await expect(rpc.call(procedures.domainMigratePerform3Params, asked)).rejects.toThrow(
    "Attempt to migrate guest to the same host",
  );
  const { state } = await rpc.call(procedures.domainGetState, { dom: webDom, flags: 0 });
  expect(state).toBe(domainStates.running);
  await rpc.call(procedures.domainDestroy, { dom: webDom });
});
