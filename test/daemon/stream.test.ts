// The memory stream's options between two daemons, led by real virsh: in force at both QEMUs while memory moves, and gone
// when the guest has arrived, or stays (G1, G2, G6).

import { cpSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { qemuImg } from "../migrate/disk-lab.js";
import { twoAuthorities } from "../migrate/qemu-pki.js";
import { hasOpenssl } from "../rpc/pki.js";
import { freePort } from "./free-port.js";
import { type ProofDomain, streams } from "./lab.js";
import { fieldsOf, hasVirsh, refusal, until, VirshLab } from "./virsh-lab.js";

vi.setConfig({ testTimeout: 60_000 });

interface InForce {
  readonly on: readonly string[];
  readonly [parameter: string]: unknown;
}

/** All that its QEMU of that side is set to for a migration, by its own word. */
const settingsAt = (guest: ProofDomain, side: string) =>
  guest.asked(side, async (main) => {
    const capabilities = await main.execute("query-migrate-capabilities", {});
    return {
      on: capabilities.filter((it) => it.state).map((it) => it.capability),
      ...(await main.execute("query-migrate-parameters", {})),
    };
  });

const expectInForce = async (guest: ProofDomain, side: string, { on, ...parameters }: InForce) =>
  expect(await settingsAt(guest, side)).toMatchObject({ on: expect.arrayContaining([...on]), ...parameters });

/** A guest that goes to and fro; where it is, and the side that it was last given. */
class Travels {
  readonly lab: VirshLab;
  #at: "a" | "b" = "a";
  #sides = ["a"];

  private constructor(lab: VirshLab) {
    this.lab = lab;
  }

  static async begin(...words: Parameters<typeof VirshLab.begin>): Promise<Travels> {
    const [wish = {}, ...rest] = words;
    const lab = await VirshLab.begin({ watched: true, ...wish }, ...rest);
    await lab.boot();
    return new Travels(lab);
  }

  get here() {
    return this.lab[this.#at];
  }

  get side(): string {
    return this.#sides.at(-1) ?? "";
  }

  /** Slower than the guest dirties its memory, until it is let go. */
  leave(options: readonly string[], bandwidth = "2") {
    const { guest } = this.lab;
    const from = this.here;
    const to = this.lab[this.#at === "a" ? "b" : "a"];
    const side = `side${this.#sides.length}`;
    const uri = options.includes("--p2p") ? to.tcp : to.uri;
    const words = ["migrate", "--live", ...options, "--bandwidth", bandwidth, guest.name, uri];
    const ended = from.virsh(...words, "--xml", this.lab.xmlFile(side)).catch(String);
    const arrived = async () => {
      expect(await ended).toBe("");
      this.#at = this.#at === "a" ? "b" : "a";
      this.#sides.push(side);
      await until(() => guest.pids().length === 1);
      await guest.counts(side);
      guest.check();
      expect((await settingsAt(guest, side)).on).toEqual([]);
    };
    const moves = (what: "Memory" | "File" = "Memory") =>
      until(async () => {
        const told = fieldsOf(await from.virsh("domjobinfo", guest.name));
        return Number.parseFloat(told[`${what} processed`] ?? "0") > 0;
      });
    return { side, ended, arrived, moves, letGo: () => from.virsh("migrate-setspeed", guest.name, "0") };
  }

  /** It has stayed, as it was. */
  async stays(): Promise<void> {
    const { guest } = this.lab;
    await until(() => guest.pids().length === 1);
    await guest.counts(this.side);
    guest.check();
    expect((await settingsAt(guest, this.side)).on).toEqual([]);
  }
}

const ofBoth: readonly [options: readonly string[], both: InForce, source?: InForce][] = [
  [["--parallel", "--parallel-connections", "3", "--p2p"], { on: ["multifd"], "multifd-channels": 3 }],
  [
    ["--parallel", "--compressed", "--comp-methods", "zstd"],
    { on: ["multifd"], "multifd-channels": 2, "multifd-compression": "zstd" },
  ],
  [["--compressed"], { on: ["xbzrle"] }],
  [
    ["--comp-methods", "xbzrle", "--comp-xbzrle-cache", "8388608", "--p2p"],
    { on: ["xbzrle"] },
    { on: ["xbzrle"], "xbzrle-cache-size": 2 ** 23 },
  ],
  [
    [
      ...["--compressed", "--comp-methods", "mt", "--comp-mt-level", "3"],
      ...["--comp-mt-threads", "2", "--comp-mt-dthreads", "4"],
    ],
    { on: ["compress"] },
    { on: ["compress"], "compress-level": 3, "compress-threads": 2 },
  ],
  [
    ["--auto-converge", "--auto-converge-initial", "30", "--auto-converge-increment", "20"],
    { on: [] },
    { on: ["auto-converge"], "cpu-throttle-initial": 30, "cpu-throttle-increment": 20 },
  ],
  [["--parallel", "--zerocopy"], { on: ["multifd"] }, { on: ["zero-copy-send"] }],
  [
    ["--postcopy", "--postcopy-bandwidth", "9"],
    { on: ["postcopy-ram"] },
    { on: ["postcopy-ram"], "max-postcopy-bandwidth": 9 * 2 ** 20 },
  ],
];

describe.skipIf(!hasVirsh)("virsh migrate", () => {
  test("has both QEMUs do what is asked, there and back, and leaves nothing of it", async () => {
    const travels = await Travels.begin();
    const { guest } = travels.lab;
    for (const [options, both, source = both] of ofBoth) {
      const before = travels.side;
      const going = travels.leave(options);
      await going.moves();
      await expectInForce(guest, before, source);
      await expectInForce(guest, going.side, both);
      await going.letGo();
      await going.arrived();
    }
  });

  test("leaves QEMU as it was when it is aborted, and when the destination's QEMU dies", async () => {
    const travels = await Travels.begin();
    const { lab } = travels;
    const aborted = travels.leave(["--parallel", "--compressed", "--comp-methods", "zlib"]);
    await aborted.moves();
    await expectInForce(lab.guest, "a", { on: ["multifd"], "multifd-compression": "zlib" });
    await travels.here.virsh("domjobabort", lab.guest.name);
    expect(await aborted.ended).toContain("canceled by client");
    await travels.stays();

    const [source] = lab.guest.pids();
    const bereft = travels.leave(["--parallel"]);
    await bereft.moves();
    for (const pid of lab.guest.pids()) if (pid !== source) process.kill(pid, "SIGKILL");
    expect(await bereft.ended).toContain("error");
    await travels.stays();
  });
});
