// Actions after a guest has moved, on real QEMUs: the guest is announced to the network, graphics clients follow it, its clock
// is set. A failure of any of them never makes a migration fail.

import { randomUUID } from "node:crypto";
import { createSocket } from "node:dgram";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { EffectInterceptor } from "../../../src/effects/bind.js";
import { type MigrateOptions, migrateWith } from "../../../src/library/local/migrate.js";
import { launchGuest, type RunningGuest } from "../../../src/library/local/running-guest.js";
import { patienceMs } from "../../support/patience.js";
import { smallAgent } from "../../support/small-agent.js";
import { spiceClient } from "../../support/spice-client.js";

interface Sides {
  readonly hardware?: readonly string[];
  readonly here?: readonly string[];
  readonly there?: readonly string[];
}

async function launch({ hardware = [], here = [] }: Sides): Promise<RunningGuest> {
  const args = ["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-m", "32M", ...hardware];
  const spec = { name: "surrounded", uuid: randomUUID(), args };
  return launchGuest(spec, { sideArgs: here });
}

async function move(
  guest: RunningGuest,
  sides: Sides,
  options: Partial<MigrateOptions>,
  around?: EffectInterceptor,
) {
  const migration = migrateWith({ guest, destination: { sideArgs: sides.there ?? [] }, ...options }, around);
  const outcome = await migration.outcome;
  onTestFinished(() => outcome.guest?.end());
  return outcome;
}

/** Moves a guest from one side to the other. */
const moved = async (sides: Sides, options: Partial<MigrateOptions> = {}, around?: EffectInterceptor) =>
  move(await launch(sides), sides, options, around);

describe("the guest's announcements to the network", () => {
  const rarp = 0x8035;

  test.each([
    ["at once", 0],
    ["late: also after the burst of what QEMU has kept", 1_500],
  ])("when it is run %s", async (_, delayMs) => {
    const frames: number[] = [];
    const socket = createSocket("udp4", (frame) => {
      if (frame.readUInt16BE(12) === rarp) frames.push(Date.now());
    });
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    onTestFinished(() => void socket.close());
    const network = `socket,id=net,udp=127.0.0.1:${socket.address().port},localaddr=127.0.0.1:0`;
    let ranAt = 0;
    const outcome = await moved(
      {
        hardware: ["-device", "virtio-net-pci,netdev=net"],
        here: ["-netdev", "hubport,id=net,hubid=0"],
        there: ["-netdev", network],
      },
      {},
      async (place, call) => {
        if (place !== "take") return call();
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        ranAt = Date.now();
        return call();
      },
    );
    expect(outcome.kind).toBe("arrived");
    await expect.poll(() => frames.length).toBeGreaterThanOrEqual(10);
    expect(
      frames.filter((at) => at < ranAt - 5),
      "none before it ran",
    ).toEqual([]);
    expect((frames.at(-1) ?? 0) - ranAt, "and again, until the switches must have heard").toBeGreaterThan(
      500,
    );
  });
});

describe("the guest's SPICE clients", () => {
  const spice = (port: number) => [
    ...["-spice", `port=${port},addr=127.0.0.1,disable-ticketing=on`],
    ...["-vga", "std"],
  ];

  test("are sent to the destination by the source, which ends when they have left", async () => {
    const { to, client, moving } = await watched();
    expect(await client.sentTo).toEqual({ host: "127.0.0.1", port: to });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(client.isHeld(), "the source waits for it").toBe(true);
    const follower = spiceClient(to);
    await follower.isIn;
    client.hangUp();
    expect(await moving).toMatchObject({ kind: "arrived", dropped: [] });
    follower.hangUp();
  });

  test("delay the end of the source by at most 8 s", async () => {
    const { client, moving } = await watched();
    await client.sentTo;
    const saidAt = Date.now();
    expect(await moving).toMatchObject({ kind: "arrived" });
    expect(Date.now() - saidAt).toBeGreaterThan(7_000);
    await expect.poll(() => client.isHeld()).toBe(false);
  });

  /** A guest whose client is connected before the migration begins. */
  async function watched() {
    const [from, to] = [await freePort(), await freePort()];
    const sides = { here: spice(from), there: spice(to) };
    const guest = await launch(sides);
    const client = spiceClient(from);
    await client.isIn;
    const graphics = { protocol: "spice", host: "127.0.0.1", port: to } as const;
    return { to, client, moving: move(guest, sides, { graphics }) };
  }

  test("are reported as not notified when there is no SPICE, and the guest arrives", async () => {
    const graphics = { protocol: "spice", host: "127.0.0.1", port: 5900 } as const;
    const outcome = await moved({}, { graphics });
    expect(outcome).toMatchObject({ kind: "arrived", dropped: [{ option: "graphics" }] });
    expect(outcome.dropped[0]?.why).toMatch(/SPICE is not in use/);
  });

  test("cannot be VNC clients, which QEMU does not notify", async () => {
    const guest = await launch({ here: ["-vnc", "none"] });
    onTestFinished(() => guest.end());
    const where = { protocol: "vnc", hostname: "127.0.0.1", port: 5900 };
    const asked = guest.process.main.session.execute("client_migrate_info", where, { limitMs: patienceMs });
    await expect(asked).rejects.toThrow("expects 'spice'");
  });

  test.each([
    ["without a port", {}, "graphics has no port"],
    ["with an impossible port", { tlsPort: 70_000 }, "graphics.tlsPort is 70000"],
    ["of another protocol", { protocol: "vnc", port: 1 }, "QEMU can redirect only the clients of spice"],
  ])("cannot be moved %s, which is said before anything is begun", async (_, wrong, words) => {
    const guest = await launch({});
    onTestFinished(() => guest.end());
    const graphics = { protocol: "spice", host: "there", ...wrong } as MigrateOptions["graphics"];
    expect(() => migrateWith({ guest, ...(graphics && { graphics }) })).toThrow(words);
  });
});

describe("the guest's clock", () => {
  const place = () => {
    const directory = mkdtempSync(join(tmpdir(), "agent-"));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    return join(directory, "agent.sock");
  };

  test("is set by its agent after its arrival", async () => {
    const path = place();
    const agent = await smallAgent(path);
    onTestFinished(() => agent.close());
    expect(await moved({}, { syncTime: { agent: path } })).toMatchObject({ kind: "arrived", dropped: [] });
    expect(agent.asked).toEqual(["guest-sync-delimited", "guest-set-time"]);
  });

  test("is not set when no agent answers on the guest's real port, which the outcome reports", async () => {
    const path = place();
    const port = ["-chardev", `socket,id=agent,path=${path},server=on,wait=off`];
    const outcome = await moved(
      {
        hardware: [
          ...["-device", "virtio-serial-pci"],
          ...["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"],
        ],
        here: ["-chardev", "null,id=agent"],
        there: port,
      },
      { syncTime: { agent: path } },
    );
    const why = "the guest agent did not answer within 5000 ms";
    expect(outcome).toMatchObject({ kind: "arrived", dropped: [{ option: "syncTime", why }] });
  });

  test("is not set when the guest is paused", async () => {
    const guest = await launch({});
    await guest.process.main.execute("stop", {});
    const outcome = await move(guest, {}, { syncTime: { agent: "/nowhere" } });
    expect(outcome).toMatchObject({ kind: "arrived", dropped: [{ why: "the guest is paused" }] });
  });

  test("continues in hardware, whatever start value the destination was given", async () => {
    const guest = await launch({ here: ["-rtc", "base=2001-01-01T00:00:00"] });
    const outcome = await move(guest, { there: ["-rtc", "base=utc"] }, {});
    const where = { path: "/machine", property: "rtc-time" };
    const rtc = await outcome.guest?.process.main.session.execute("qom-get", where, { limitMs: patienceMs });
    expect(rtc).toMatchObject({ tm_year: 101, tm_mon: 0, tm_mday: 1, tm_hour: 0 });
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string")
    throw new Error("the server on loopback has no TCP address");
  return address.port;
}
