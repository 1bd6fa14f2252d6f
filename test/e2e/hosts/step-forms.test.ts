import { describe, expect, onTestFinished, test } from "vitest";
import { bitsOf, type MigrateFlag } from "../../../src/drivers/libvirt/client/flags.js";
import { stepCalls } from "../../../src/drivers/libvirt/client/protocol-calls.js";
import { Redial } from "../../../src/drivers/libvirt/client/reconnecting-client.js";
import { refusedFlags, refusedParameters } from "../../../src/drivers/libvirt/client/virsh-options.js";
import { errorCodes } from "../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { until } from "../../support/until.js";
import { VirshLab } from "../../support/virsh-lab.js";

const { procedures } = remote;
const none = new Uint8Array();
const flags = bitsOf([
  "LIVE",
  "CHANGE_PROTECTION",
  "UNDEFINE_SOURCE",
  "PERSIST_DEST",
] satisfies MigrateFlag[]);

const protocols = ["version 3 with parameters", "version 3", "version 2"] as const;

describe.each(protocols)("the steps of %s", (protocol) => {
  const calls = stepCalls(protocol, { xmlMigratable: true });
  // Version 2 has no other XML for the destination: both QEMUs append to the same file.
  const there = protocol === "version 2" ? "a" : "b";

  test("move a guest and rename it", async () => {
    const { lab, a, b, dom, step } = await begun(there);
    const offered = await calls.begin(a, { ...step, dom });
    const prepared = await calls.prepare(b, {
      ...step,
      parameters: { ...step.parameters, xml: offered.xml },
      cookieIn: offered.cookieOut,
    });
    const parameters = { ...step.parameters, uri: prepared.uriOut ?? "" };
    const performed = await calls.perform(a, { ...step, parameters, dom, cookieIn: prepared.cookieOut });
    const ending = { ...step, parameters, cancelled: false };
    const finished = await calls.finish(b, { ...ending, cookieIn: performed.cookieOut });
    await calls.confirm?.(a, { ...ending, dom, cookieIn: finished.cookieOut });
    await lab.countsAt(there);
    const all = { needResults: 1, flags: 0 };
    await until(async () => (await a.call(procedures.connectListAllDomains, all)).ret === 0);
    const { domains } = await b.call(procedures.connectListAllDomains, all);
    expect(domains).toMatchObject([{ name: "renamed", uuid: lab.guest.uuid }]);
  });

  test("leave the guest where it is on a cancel", async () => {
    const { lab, a, b, dom, step } = await begun(there);
    const offered = await calls.begin(a, { ...step, dom });
    const parameters = { ...step.parameters, xml: offered.xml };
    await calls.prepare(b, { ...step, parameters, cookieIn: offered.cookieOut });
    const ending = { ...step, cookieIn: none, cancelled: true };
    await expect(calls.finish(b, ending)).rejects.toMatchObject({ code: errorCodes.MIGRATE_FINISH_OK });
    await calls.confirm?.(a, { ...ending, dom });
    await lab.countsAt("a");
  });
});

test("all flags of a fixed form are read, also those above 32 bits", async () => {
  const { a, dom } = await begun();
  const asked = (more: bigint) =>
    a.call(procedures.domainMigrateBegin3, {
      dom,
      xmlin: null,
      flags: BigInt(flags) | more,
      dname: null,
      resource: 0n,
    });
  await expect(asked(1n << 40n)).rejects.toThrow("unsupported flags (0x100");
  await expect(asked(BigInt(bitsOf(["TUNNELLED"])))).rejects.toThrow("has to be peer-to-peer");
});

test("each unsupported flag and parameter is refused with its reason", async () => {
  const { a, dom } = await begun();
  const asked = (field: string | undefined, more: number) => {
    const params = field === undefined ? [] : [{ field, type: "string", value: "1" } as const];
    return a.call(procedures.domainMigrateBegin3Params, { dom, params, flags: flags | more });
  };
  for (const [flag, reason] of refusedFlags)
    await expect(asked(undefined, bitsOf([flag])), flag).rejects.toThrow(`${flag}: ${reason}`);
  for (const [field, reason] of refusedParameters)
    await expect(asked(field, 0), field).rejects.toThrow(`'${field}' is not supported: ${reason}`);
  await expect(asked("nonsense", 0)).rejects.toThrow("'nonsense' is not supported");
  expect(refusedFlags.size + refusedParameters.size).toBeGreaterThan(0);
});

async function begun(there = "b") {
  const lab = await VirshLab.begin();
  const connect = async (uri: string) => {
    const redial = new Redial(uri, systemClock);
    onTestFinished(() => redial.close());
    return redial.rpc();
  };
  const [a, b] = await Promise.all([connect(lab.a.uri), connect(lab.b.uri)]);
  await a.call(procedures.domainDefineXml, { xml: lab.guest.xml("a") });
  const dom = { name: lab.guest.name, uuid: lab.guest.uuid, id: -1 };
  await a.call(procedures.domainCreate, { dom });
  await lab.guest.counts("a");
  const parameters = { name: "renamed", xml: lab.guest.xml(there), bandwidthMiBps: 64 };
  const options = { deadlineMs: Number.POSITIVE_INFINITY };
  return { lab, a, b, dom, step: { parameters, flags, options } };
}
