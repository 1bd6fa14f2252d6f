import { describe, expect, onTestFinished, test } from "vitest";
import { bitsOf, type MigrateFlag, toParameters } from "../../src/drivers/libvirt/flags.js";
import { Redial } from "../../src/drivers/libvirt/redial.js";
import { refusedFlags, refusedParameters } from "../../src/drivers/libvirt/virsh-options.js";
import type { RpcConnection } from "../../src/drivers/libvirt-rpc/client.js";
import { errorCodes } from "../../src/drivers/libvirt-rpc/libvirt-error.js";
import type { Domain } from "../../src/drivers/libvirt-rpc/libvirt-types.js";
import { remote } from "../../src/drivers/libvirt-rpc/procedures.js";
import { systemClock } from "../../src/drivers/system.js";
import { VirshLab } from "./virsh-lab.js";

const { procedures } = remote;
const none = new Uint8Array();
const flags = bitsOf([
  "LIVE",
  "CHANGE_PROTECTION",
  "UNDEFINE_SOURCE",
  "PERSIST_DEST",
] satisfies MigrateFlag[]);
const unlimited = { deadlineMs: Number.POSITIVE_INFINITY };

interface Moved {
  readonly dom: Domain;
  readonly name: string;
  readonly xml: string;
}

/** One form of the five steps; each hands on what the next one needs. */
interface Form {
  begin(at: RpcConnection, it: Moved): Promise<{ cookieOut: Uint8Array; xml: string }>;
  prepare(
    at: RpcConnection,
    it: Moved & { cookie: Uint8Array },
  ): Promise<{ cookieOut: Uint8Array; uriOut: string | null }>;
  perform(
    at: RpcConnection,
    it: Moved & { cookie: Uint8Array; uri: string },
  ): Promise<{ cookieOut: Uint8Array }>;
  finish(
    at: RpcConnection,
    it: Moved & { cookie: Uint8Array; cancelled: number },
  ): Promise<{ dom: Domain; cookieOut: Uint8Array }>;
  confirm(at: RpcConnection, it: Moved & { cookie: Uint8Array; cancelled: number }): Promise<void>;
}

const wide = BigInt(flags);
const params = ({ name, xml }: Moved, uri?: string) =>
  toParameters({ name, xml, bandwidthMiBps: 64, ...(uri !== undefined && { uri }) });

const forms: Record<string, Form> = {
  "with parameters": {
    begin: (at, it) =>
      at.call(procedures.domainMigrateBegin3Params, { dom: it.dom, params: params(it), flags }),
    prepare: (at, { cookie, ...it }) =>
      at.call(procedures.domainMigratePrepare3Params, { params: params(it), cookieIn: cookie, flags }),
    perform: (at, { cookie, uri, ...it }) =>
      at.call(
        procedures.domainMigratePerform3Params,
        { dom: it.dom, dconnuri: null, params: params(it, uri), cookieIn: cookie, flags },
        unlimited,
      ),
    finish: (at, { cookie, cancelled, ...it }) =>
      at.call(procedures.domainMigrateFinish3Params, {
        ...{ params: params(it), cookieIn: cookie, flags, cancelled },
      }),
    confirm: (at, { cookie, cancelled, ...it }) =>
      at.call(procedures.domainMigrateConfirm3Params, {
        ...{ dom: it.dom, params: params(it), cookieIn: cookie, flags, cancelled },
      }),
  },
  fixed: {
    begin: (at, { dom, name, xml }) =>
      at.call(procedures.domainMigrateBegin3, { dom, xmlin: xml, flags: wide, dname: name, resource: 64n }),
    prepare: (at, { name, xml, cookie }) =>
      at.call(procedures.domainMigratePrepare3, {
        ...{ cookieIn: cookie, uriIn: null, flags: wide, dname: name, resource: 64n, domXml: xml },
      }),
    perform: (at, { dom, name, xml, cookie, uri }) =>
      at.call(
        procedures.domainMigratePerform3,
        { dom, xmlin: xml, cookieIn: cookie, dconnuri: null, uri, flags: wide, dname: name, resource: 64n },
        unlimited,
      ),
    finish: (at, { name, cookie, cancelled }) =>
      at.call(procedures.domainMigrateFinish3, {
        ...{ dname: name, cookieIn: cookie, dconnuri: null, uri: null, flags: wide, cancelled },
      }),
    confirm: (at, { dom, cookie, cancelled }) =>
      at.call(procedures.domainMigrateConfirm3, { dom, cookieIn: cookie, flags: wide, cancelled }),
  },
};

describe.each(Object.entries(forms))("the five steps, %s", (_, form) => {
  test("move a guest under a new name", async () => {
    const { lab, a, b, moved } = await begun();
    const begin = await form.begin(a, moved);
    const { cookieOut, uriOut } = await form.prepare(b, {
      ...moved,
      xml: begin.xml,
      cookie: begin.cookieOut,
    });
    const uri = uriOut ?? "";
    const performed = await form.perform(a, { ...moved, cookie: cookieOut, uri });
    const finished = await form.finish(b, { ...moved, cookie: performed.cookieOut, cancelled: 0 });
    expect(finished.dom).toMatchObject({ name: moved.name, uuid: lab.guest.uuid });
    await form.confirm(a, { ...moved, cookie: finished.cookieOut, cancelled: 0 });
    await lab.countsAt("b");
    const all = { needResults: 1, flags: 0 };
    expect((await a.call(procedures.connectListAllDomains, all)).domains).toEqual([]);
    expect((await b.call(procedures.connectListAllDomains, all)).domains).toEqual([finished.dom]);
  });

  test("leave the guest where it is when they are cancelled", async () => {
    const { lab, a, b, moved } = await begun();
    const begin = await form.begin(a, moved);
    await form.prepare(b, { ...moved, xml: begin.xml, cookie: begin.cookieOut });
    const finish = form.finish(b, { ...moved, cookie: none, cancelled: 1 });
    await expect(finish).rejects.toMatchObject({ code: errorCodes.MIGRATE_FINISH_OK });
    await form.confirm(a, { ...moved, cookie: none, cancelled: 1 });
    await lab.countsAt("a");
  });
});

test("a fixed form's flags are all read, also those above 32 bits", async () => {
  const { a, moved } = await begun();
  const asked = (more: bigint) =>
    a.call(procedures.domainMigrateBegin3, {
      ...{ dom: moved.dom, xmlin: null, flags: wide | more, dname: null, resource: 0n },
    });
  await expect(asked(1n << 40n)).rejects.toThrow("unsupported flags (0x100");
  await expect(asked(BigInt(bitsOf(["TUNNELLED"])))).rejects.toThrow("TUNNELLED: tunnelled migration");
});

test("each flag and parameter that is refused is so with its reason", async () => {
  const { a, moved } = await begun();
  const asked = (field: string | undefined, more: number) => {
    const params = field === undefined ? [] : [{ field, type: "string", value: "1" } as const];
    return a.call(procedures.domainMigrateBegin3Params, { dom: moved.dom, params, flags: flags | more });
  };
  for (const [flag, reason] of refusedFlags)
    await expect(asked(undefined, bitsOf([flag])), flag).rejects.toThrow(`${flag}: ${reason}`);
  for (const [field, reason] of refusedParameters)
    await expect(asked(field, 0), field).rejects.toThrow(`'${field}' is not supported: ${reason}`);
  await expect(asked("nonsense", 0)).rejects.toThrow("'nonsense' is not supported");
  expect(refusedFlags.size + refusedParameters.size).toBeGreaterThan(25);
});

async function begun() {
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
  return { lab, a, b, moved: { dom, name: "renamed", xml: lab.guest.xml("b") } };
}
