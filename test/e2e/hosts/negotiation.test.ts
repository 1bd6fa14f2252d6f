// Compares our calls to two hosts, for all features and options, with those that libvirt's own client makes to the same hosts:
// virsh is the reference.

import { spawn } from "node:child_process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MigrateFlag, MigrateParameters } from "../../../src/drivers/libvirt/client/flags.js";
import { type Feature, negotiateUnmanaged } from "../../../src/drivers/libvirt/client/negotiation.js";
import { domainStates, features } from "../../../src/drivers/libvirt/rpc/constants.js";
import { errorCodes, LibvirtError } from "../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { type Handlers, serve, serveRemote } from "../../../src/drivers/libvirt/rpc/service.js";
import { own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { migrateBetween } from "../../../src/library/remote/migrate-between.js";
import { testLimitMs } from "../../support/patience.js";
import { pair } from "../../support/rpc-pair.js";
import { hasVirsh } from "../../support/virsh-lab.js";

const { procedures } = remote;
const runs = Number(process.env["SWITCHOVER_RUNS"] ?? 1_500);

interface Case {
  readonly source: readonly Feature[];
  readonly destination: readonly Feature[];
  readonly flags: readonly MigrateFlag[];
  readonly parameters: MigrateParameters;
  readonly direct: boolean;
  /** The destination's URI for a migration that the source coordinates. */
  readonly ledTo: string;
  readonly paused: boolean;
}

type Step = readonly [side: string, procedure: string, flags: number, cancelled?: number | undefined];
/** The calls of the steps in order, or the code of the refusal, or a message that this test does not know. */
type Asked = readonly Step[] | number | string;

const optionOf: Partial<Record<MigrateFlag, string>> = {
  LIVE: "--live",
  OFFLINE: "--offline",
  PEER2PEER: "--p2p",
  TUNNELLED: "--tunnelled",
  CHANGE_PROTECTION: "--change-protection",
  NON_SHARED_DISK: "--copy-storage-all",
  NON_SHARED_INC: "--copy-storage-inc",
  NON_SHARED_SYNCHRONOUS_WRITES: "--copy-storage-synchronous-writes",
  POSTCOPY: "--postcopy",
  ABORT_ON_ERROR: "--abort-on-error",
  AUTO_CONVERGE: "--auto-converge",
  COMPRESSED: "--compressed",
  PARALLEL: "--parallel",
  ZEROCOPY: "--zerocopy",
  TLS: "--tls",
};

const ofStreamBy: Readonly<Record<string, string>> = {
  compression: "--comp-methods",
  compressionXbzrleCacheBytes: "--comp-xbzrle-cache",
  autoConvergeInitialPercent: "--auto-converge-initial",
  parallelConnections: "--parallel-connections",
  postcopyBandwidthMiBps: "--postcopy-bandwidth",
};

/** Present in most cases: otherwise nearly every case would end at the first check. */
const mostly = (feature: Feature) =>
  fc
    .option(fc.constant(feature), { freq: 4, nil: undefined })
    .map((text) => (text === undefined ? [] : [text]));
const some = <T>(...all: readonly T[]) => fc.subarray([...all]);
const ofBoth = [
  mostly("migrationParams"),
  mostly("migrationV3"),
  mostly("migrationV2"),
  mostly("migrationOffline"),
];
const cases: fc.Arbitrary<Case> = fc.record({
  source: fc
    .tuple(...ofBoth, mostly("migrationP2p"), mostly("migrateChangeProtection"), mostly("xmlMigratable"))
    .map((parts) => parts.flat()),
  destination: fc.tuple(...ofBoth).map((items) => items.flat()),
  flags: fc
    .tuple(
      some<MigrateFlag>("LIVE", "PEER2PEER", "CHANGE_PROTECTION", "ABORT_ON_ERROR", "AUTO_CONVERGE"),
      fc.oneof(
        { weight: 3, arbitrary: fc.constant<MigrateFlag[]>([]) },
        {
          weight: 1,
          arbitrary: some<MigrateFlag>(
            ...(["OFFLINE", "TUNNELLED", "NON_SHARED_DISK", "NON_SHARED_INC"] as const),
            ...(["NON_SHARED_SYNCHRONOUS_WRITES", "POSTCOPY", "COMPRESSED", "PARALLEL"] as const),
            ...(["ZEROCOPY", "TLS"] as const),
          ),
        },
      ),
    )
    .map((parts) => parts.flat())
    // virsh itself refuses both, and synchronous writes without a copy.
    .map((items) => (items.includes("OFFLINE") ? items.filter((flag) => flag !== "LIVE") : items))
    .map((items) =>
      items.some((flag) => flag === "NON_SHARED_DISK" || flag === "NON_SHARED_INC")
        ? items
        : items.filter((flag) => flag !== "NON_SHARED_SYNCHRONOUS_WRITES"),
    ),
  parameters: fc
    .tuple(
      fc.record(
        {
          name: fc.constant("renamed"),
          bandwidthMiBps: fc.constant(7),
          uri: fc.constant("tcp://elsewhere:49152"),
          listenAddress: fc.constant("0.0.0.0"),
        },
        { requiredKeys: [] },
      ),
      fc.oneof(
        { weight: 5, arbitrary: fc.constant({}) },
        {
          weight: 1,
          arbitrary: fc.record(
            {
              disks: fc.constantFrom(["vda"], ["vda", "sdb"]),
              disksPort: fc.constant(49_300),
              disksUri: fc.constant("tcp://elsewhere:49300"),
              compression: fc.constantFrom(["mt"], ["mt", "xbzrle"]),
              compressionXbzrleCacheBytes: fc.constant(65_536),
              autoConvergeInitialPercent: fc.constant(30),
              parallelConnections: fc.constant(3),
              postcopyBandwidthMiBps: fc.constant(9),
            },
            { requiredKeys: [] },
          ),
        },
      ),
    )
    .map(([some, more]) => ({ ...some, ...more })),
  direct: fc.integer({ min: 0, max: 7 }).map((value) => value === 0),
  ledTo: fc.oneof(
    { weight: 4, arbitrary: fc.constant("qemu+tcp://elsewhere/system") },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "qemu:///system",
        "qemu+unix:///system",
        "qemu+unix:///system?socket=/elsewhere",
        "qemu+unix:///system?mode=auto",
        "qemu:///system?socket=/elsewhere",
        "qemu+tcp://localhost/system",
        "qemu+tls://localhost4:16514/system",
        "qemu+tcp://127.0.0.1/system",
        "qemu+unix://localhost/system?socket=/elsewhere",
      ),
    },
  ),
  paused: fc.boolean(),
});

const hostUuids = {
  source: "00000000-0000-4000-8000-00000000000a",
  destination: "00000000-0000-4000-8000-00000000000b",
};
const uuid = "00000000-0000-4000-8000-000000000001";

/** Two hosts with the features of the case, which record the calls that they receive. */
class Hosts {
  asked: Step[] = [];
  #case: Case | undefined;
  readonly #cases: readonly Case[];

  constructor(all: readonly Case[]) {
    this.#cases = all;
  }

  service(side: "source" | "destination") {
    const note = (procedure: string, flags: number | bigint, cancelled?: number) => {
      this.asked.push([side, procedure, Number(flags), cancelled]);
    };
    const dom = (name: string) => ({ name, uuid, id: 1 });
    const cookieOut = new Uint8Array();
    const uriOut = "tcp://elsewhere:49152";
    const handlers: Handlers<typeof procedures> = {
      connectOpen: () => {},
      connectClose: () => {},
      connectGetUri: () => ({ uri: "qemu:///system" }),
      connectGetCapabilities: () => ({
        capabilities: `<capabilities><host><uuid>${hostUuids[side]}</uuid></host></capabilities>`,
      }),
      connectRegisterCloseCallback: () => {},
      connectUnregisterCloseCallback: () => {},
      connectSupportsFeature: ({ feature }) => ({
        supported: (this.#case?.[side] ?? []).some((text) => features[text] === feature) ? 1 : 0,
      }),
      domainLookupByName: ({ name }) => {
        const found = this.#cases[Number(name.replace("case-", ""))];
        if (found !== undefined) this.#case = found;
        return { dom: dom(name) };
      },
      connectListAllDomains: () => ({ domains: [], ret: 0 }),
      domainGetState: () => ({ state: this.#state(), reason: 0 }),
      domainGetInfo: () => ({ state: this.#state(), maxMem: 0n, memory: 0n, nrVirtCpu: 1, cpuTime: 0n }),
      domainGetXmlDesc: ({ flags }) => {
        note("domainGetXmlDesc", flags);
        return { xml: "<domain/>" };
      },
      domainMigrateBegin3Params: ({ flags }) => {
        note("domainMigrateBegin3Params", flags);
        return { xml: "<domain/>", cookieOut };
      },
      domainMigratePrepare3Params: ({ flags }) => {
        note("domainMigratePrepare3Params", flags);
        return { cookieOut, uriOut };
      },
      domainMigratePerform3Params: ({ flags, dconnuri }) => {
        note(`domainMigratePerform3Params to ${dconnuri}`, flags);
        return { cookieOut };
      },
      domainMigrateFinish3Params: ({ flags, cancelled }) => {
        note("domainMigrateFinish3Params", flags, cancelled);
        return { dom: dom("case"), cookieOut };
      },
      domainMigrateConfirm3Params: ({ flags, cancelled }) =>
        note("domainMigrateConfirm3Params", flags, cancelled),
      domainMigrateBegin3: ({ flags }) => {
        note("domainMigrateBegin3", flags);
        return { xml: "<domain/>", cookieOut };
      },
      domainMigratePrepare3: ({ flags }) => {
        note("domainMigratePrepare3", flags);
        return { cookieOut, uriOut };
      },
      domainMigratePerform3: ({ flags, dconnuri }) => {
        note(`domainMigratePerform3 to ${dconnuri}`, flags);
        return { cookieOut };
      },
      domainMigrateFinish3: ({ flags, cancelled }) => {
        note("domainMigrateFinish3", flags, cancelled);
        return { dom: dom("case"), cookieOut };
      },
      domainMigrateConfirm3: ({ flags, cancelled }) => note("domainMigrateConfirm3", flags, cancelled),
      domainMigratePrepare2: ({ flags }) => {
        note("domainMigratePrepare2", flags);
        return { cookie: cookieOut, uriOut };
      },
      domainMigratePerform: ({ flags, uri }) => note(`domainMigratePerform to ${uri}`, flags),
      domainMigrateFinish2: ({ flags, retcode }) => {
        note("domainMigrateFinish2", flags, retcode);
        return { ddom: dom("case") };
      },
    };
    // Version 2 is for hosts that can be queried by a migration's id.
    return [serveRemote(handlers), serve(own, { facts: () => ({ facts: "{}" }) })];
  }

  #state(): number {
    return this.#case?.paused ? domainStates.paused : domainStates.running;
  }

  /** Returns the calls since the last query. */
  take(): Step[] {
    const { asked } = this;
    this.asked = [];
    return asked;
  }
}

const isLed = ({ flags, direct }: Case) => flags.includes("PEER2PEER") || direct;

/** The beginnings of libvirt's messages, as virsh prints them. */
const sentences: readonly (readonly [RegExp, number])[] = [
  [/argument unsupported/, errorCodes.ARGUMENT_UNSUPPORTED],
  [/this function is not supported by the connection driver/, errorCodes.NO_SUPPORT],
  [
    /mutually exclusive|without using peer2peer|use virDomainMigrateToURI3|to the same host/,
    errorCodes.INVALID_ARG,
  ],
  [/internal error/, errorCodes.INTERNAL_ERROR],
];

/** A migration that is refused at once can leave virsh waiting for its own thread: then another one is started. */
const silenceMs = 2_000;

async function byVirsh(all: readonly Case[], hosts: Hosts, from: string, to: string): Promise<Asked[]> {
  const asked: Asked[] = [];
  while (asked.length < all.length) await goOn(asked, all, hosts, from, to);
  return asked;
}

async function goOn(asked: Asked[], all: readonly Case[], hosts: Hosts, from: string, to: string) {
  const child = spawn("sh", ["-c", `exec virsh -q -c '${from}' 2>&1`], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let said = "";
  let silence: NodeJS.Timeout | undefined;
  const next = () => {
    clearTimeout(silence);
    hosts.take();
    const item = all[asked.length];
    if (item === undefined) return void child.stdin.end();
    silence = setTimeout(() => child.kill("SIGKILL"), silenceMs);
    const destination = isLed(item) ? item.ledTo : to;
    const { name, bandwidthMiBps, uri, listenAddress, disks, disksPort, disksUri, ...ofStream } =
      item.parameters;
    const words = [
      ...item.flags.map((flag) => optionOf[flag]),
      ...(item.direct ? ["--direct"] : []),
      ...(name === undefined ? [] : ["--dname", name]),
      ...(bandwidthMiBps === undefined ? [] : ["--bandwidth", bandwidthMiBps]),
      ...(uri === undefined ? [] : ["--migrateuri", uri]),
      ...(listenAddress === undefined ? [] : ["--listen-address", listenAddress]),
      ...(disks === undefined ? [] : ["--migrate-disks", disks.join()]),
      ...(disksPort === undefined ? [] : ["--disks-port", disksPort]),
      ...(disksUri === undefined ? [] : ["--disks-uri", disksUri]),
      ...Object.entries(ofStream).flatMap(([parameter, value]) => [ofStreamBy[parameter], value]),
    ];
    child.stdin.write(`migrate case-${asked.length} ${destination} ${words.join(" ")}\necho over\n`);
  };
  child.stdout.on("data", (bytes) => {
    said += bytes;
    // Once in the echoed command, and once in its output.
    if (!/over.*over/s.test(said)) return;
    const steps = hosts.take();
    const refused = /error: (.*)/.exec(said)?.[1];
    const code = sentences.find(([sentence]) => refused !== undefined && sentence.test(refused))?.[1];
    asked.push(code ?? refused ?? steps);
    said = "";
    next();
  });
  next();
  await new Promise((resolve) => child.once("close", resolve));
  clearTimeout(silence);
}

async function byUs(item: Case, at: number, hosts: Hosts, from: string, to: string): Promise<Asked> {
  const destination = isLed(item) ? item.ledTo : to;
  const { flags, parameters } = item;
  try {
    if (item.direct && !flags.includes("PEER2PEER"))
      negotiateUnmanaged(new Set(item.source), destination, { flags: new Set(flags), parameters });
    const where = { from, to: destination, domain: `case-${at}` };
    await (await migrateBetween({ ...where, flags, parameters })).outcome;
    return hosts.take();
  } catch (error) {
    if (error instanceof LibvirtError) return error.code;
    throw error;
  }
}

describe.skipIf(!hasVirsh)("for all features of two hosts and all options", () => {
  test("our client makes the same calls as libvirt's, in order and with the same flags, or refuses with its code", {
    timeout: testLimitMs,
  }, async () => {
    const all = fc.sample(cases, { numRuns: runs, seed: 5 });
    const hosts = new Hosts(all);
    const serving = async (side: "source" | "destination") =>
      `qemu+unix:///system?socket=${(await pair({ services: hosts.service(side) })).path}`;
    const [from, to] = [await serving("source"), await serving("destination")];
    const theirs = await byVirsh(all, hosts, from, to);
    const kinds = new Set<string>();
    for (const [at, it] of all.entries()) {
      const ours = await byUs(it, at, hosts, from, to);
      expect(ours, `${at} ${JSON.stringify(it)}`).toEqual(theirs[at]);
      kinds.add(typeof ours === "object" ? ours.map(([, procedure]) => procedure).join() : `${ours}`);
    }
    // Covers every protocol, managed and peer-to-peer, and every refusal.
    expect(kinds.size).toBeGreaterThan(12);
  });
});
