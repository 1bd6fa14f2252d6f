// Access to the port at which a guest's stream is accepted, and the possible effects of a stranger who connects first (G2).

import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { completeConfig } from "../../../src/daemon/config.js";
import { atOneAddress } from "../../../src/daemon/listen-address.js";
import { disksAt, listenAt } from "../../../src/daemon/migrations/migration-uri.js";
import { bitsOf, type MigrateFlag, toParameters } from "../../../src/drivers/libvirt/client/flags.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { inTwoHosts, type TwoHosts, whole } from "../../support/host-process.js";
import { patienceMs } from "../../support/patience.js";
import { hasOpenssl } from "../../support/pki.js";
import { twoAuthorities } from "../../support/qemu-pki.js";

const { procedures } = remote;
describe("the address at which a stream is accepted", () => {
  const hostUuid = "6d0d7d25-3a0c-4a8e-9d0a-0f0a3c1b2e4d";
  const names: Readonly<Record<string, readonly string[]>> = {
    "b.example": ["127.0.1.1", "10.0.0.2", "10.0.0.3"],
    "debian.example": ["127.0.1.1", "::1"],
    localhost: ["127.0.0.1"],
  };
  const resolve = async (name: string) => {
    const addresses = names[name];
    if (addresses === undefined) throw new Error(`ENOTFOUND ${name}`);
    return addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  };
  const boundTo = async (given: object, asked: Parameters<typeof listenAt>[1] = {}) => {
    const config = await completeConfig({ hostUuid, hostname: "b.example", ...given });
    return (await atOneAddress(listenAt(config, asked), resolve)).bind;
  };

  test("is the one that the source is given, not a wildcard", async () => {
    expect(await boundTo({})).toBe("10.0.0.2");
    expect(await boundTo({ migration: { host: "10.0.0.9" } })).toBe("10.0.0.9");
    expect(await boundTo({}, { uri: "tcp:10.0.0.3" })).toBe("10.0.0.3");
    expect(await boundTo({}, { uri: "tcp://[fd00::2]:4444" })).toBe("fd00::2");
    expect(await boundTo({ hostname: "localhost" })).toBe("127.0.0.1");
    const config = await completeConfig({ hostUuid, hostname: "b.example" });
    expect(disksAt(config, {})).toMatchObject({ bind: "b.example", host: "b.example" });
  });

  test("can be set by the configuration or the client", async () => {
    expect(await boundTo({ migration: { listen: "0.0.0.0" } })).toBe("0.0.0.0");
    expect(await boundTo({ migration: { listen: "10.1.0.2" } }, { uri: "tcp:10.0.0.3" })).toBe("10.1.0.2");
    expect(await boundTo({ migration: { listen: "10.1.0.2" } }, { listenAddress: "::" })).toBe("::");
  });

  test("must be configured when this host's name does not resolve, or only to the loopback", async () => {
    await expect(boundTo({ hostname: "debian.example" })).rejects.toThrow(
      '"debian.example" resolves to 127.0.1.1, ::1 on this host, which other hosts cannot reach',
    );
    await expect(boundTo({ hostname: "unknown.example" })).rejects.toThrow(
      '"unknown.example" does not resolve: ENOTFOUND unknown.example',
    );
  });
});

/** Runs the steps of a managed migration up to Prepare; the rest is the caller's. */
async function prepared(lab: TwoHosts, more: readonly MigrateFlag[] = []) {
  const [a, b] = [await lab.rpc("a"), await lab.rpc("b")];
  const how = { flags: bitsOf([...whole, ...more]) };
  const { dom } = lab;
  const begun = await a.call(procedures.domainMigrateBegin3Params, { dom, params: [], ...how });
  const { cookieOut, uriOut } = await b.call(procedures.domainMigratePrepare3Params, {
    params: toParameters({ xml: lab.guest.xml("b") }),
    cookieIn: begun.cookieOut,
    ...how,
  });
  const port = Number(/:(\d+)$/.exec(uriOut ?? "")?.[1]);
  /** @returns the error of Perform, if there was one. */
  const rest = async (): Promise<unknown> => {
    let cookieIn = cookieOut;
    const failed = await a
      .call(
        procedures.domainMigratePerform3Params,
        { dom, dconnuri: null, cookieIn, ...how, params: toParameters({ uri: uriOut ?? "" }) },
        { deadlineMs: patienceMs },
      )
      .then(
        (performed) => {
          cookieIn = performed.cookieOut;
          return undefined;
        },
        (error: unknown) => error,
      );
    const cancelled = failed === undefined ? 0 : 1;
    const finished = await b
      .call(procedures.domainMigrateFinish3Params, {
        params: toParameters({ name: lab.guest.name }),
        cookieIn,
        ...how,
        cancelled,
      })
      .catch(() => undefined);
    if (failed === undefined)
      await a.call(procedures.domainMigrateConfirm3Params, {
        dom,
        params: [],
        cookieIn: finished?.cookieOut ?? cookieIn,
        ...how,
        cancelled: 0,
      });
    return failed;
  };
  return { port, rest };
}

/** Connects to the port, and sends bytes that are not a stream. */
async function stranger(port: number, host = "127.0.0.1", words = "GET / HTTP/1.1\r\n\r\n") {
  const socket = connect({ port, host });
  socket.on("error", () => {});
  socket.resume();
  await once(socket, "connect");
  if (words !== "") socket.write(words);
  return socket;
}

describe("a stranger who connects first", () => {
  const migration = { host: "127.0.0.1", relay: false, stallMs: 1_500 };

  test("does not reach the port by another address of the host", async () => {
    await inTwoHosts({ migration }, async (lab) => {
      const { port, rest } = await prepared(lab);
      await expect(stranger(port, "127.0.0.2")).rejects.toThrow("ECONNREFUSED");
      expect(await rest()).toBeUndefined();
      await lab.runsAt("b");
    });
  });

  test("makes that migration fail without TLS, and the guest keeps running and moves with the next one", async () => {
    await inTwoHosts({ migration }, async (lab) => {
      const { port, rest } = await prepared(lab);
      const socket = await stranger(port);
      expect(await rest()).toBeInstanceOf(Error);
      socket.destroy();
      await lab.runsAt("a");
      expect((await (await lab.managed()).outcome).kind).toBe("arrived");
      await lab.runsAt("b");
    });
  });
});

describe.skipIf(!hasOpenssl)("with TLS", () => {
  const { made } = twoAuthorities();
  const under = (required: boolean) => ({
    host: "127.0.0.1",
    relay: false,
    stallMs: 10_000,
    tls: { credentials: made.credentials, required },
  });

  test("a stranger who connects first and sends no valid handshake does not make the migration fail", async () => {
    await inTwoHosts({ migration: under(false) }, async (lab) => {
      const { port, rest } = await prepared(lab, ["TLS"]);
      const socket = await stranger(port);
      expect(await rest()).toBeUndefined();
      socket.destroy();
      await lab.runsAt("b");
    });
  });

  test("a stranger who connects first and sends nothing delays the migration until it fails, and the guest stays", async () => {
    await inTwoHosts({ migration: { ...under(false), stallMs: 3_000 } }, async (lab) => {
      const { port, rest } = await prepared(lab, ["TLS"]);
      const socket = await stranger(port, "127.0.0.1", "");
      expect(await rest()).toBeInstanceOf(Error);
      socket.destroy();
      await lab.runsAt("a");
    });
  });

  test("a host that requires TLS refuses a migration without it, at either side", async () => {
    const [without, required] = [under(false), under(true)];
    const refusal = "this host requires TLS for migrations (migration.tls.required); use --tls";
    for (const side of ["a", "b"] as const)
      await inTwoHosts(
        {
          each: {
            a: { migration: side === "a" ? required : without },
            b: { migration: side === "b" ? required : without },
          },
        },
        async (lab) => {
          await expect(prepared(lab)).rejects.toThrow(refusal);
          await lab.runsAt("a");
          if (side === "a") return;
          // At b: the source has begun, and is told to stop.
          expect((await (await lab.managed({}, ["TLS"])).outcome).kind).toBe("arrived");
          await lab.runsAt("b");
        },
      );
  });
});
