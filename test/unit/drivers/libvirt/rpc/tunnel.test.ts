import { pipeline } from "node:stream/promises";
import { describe, expect, test } from "vitest";
import { domainStates, jobTypes } from "../../../../../src/drivers/libvirt/rpc/constants.js";
import {
  errorCodes,
  errorDomains,
  LibvirtError,
} from "../../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import type { OpenConnection } from "../../../../../src/drivers/libvirt/rpc/open.js";
import { remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import { serveRemote } from "../../../../../src/drivers/libvirt/rpc/service.js";
import type { RpcStream } from "../../../../../src/drivers/libvirt/rpc/stream.js";
import { hasLibvirtd, opened, startLibvirtd, tiny } from "../../../../support/libvirtd.js";
import { pair } from "../../../../support/rpc-pair.js";

const { procedures } = remote;

describe.skipIf(!hasLibvirtd)(
  "a migration between two real libvirtds that is tunnelled through our server",
  () => {
    /** `relay` forwards the stream, or breaks it. */
    async function tunnelling(relay: (from: RpcStream, to: RpcStream) => void) {
      const [source, destination] = await Promise.all([
        startLibvirtd({ hostname: "hosta" }),
        startLibvirtd({ hostname: "hostb" }),
      ]);
      const [from, to] = await Promise.all([opened(source.uri), opened(destination.uri)]);
      const finishes: number[] = [];
      const { path } = await pair({
        services: [
          serveRemote({
            connectOpen: () => {},
            connectClose: () => {},
            connectSupportsFeature: (args) => to.rpc.call(procedures.connectSupportsFeature, args),
            connectRegisterCloseCallback: () => {},
            connectUnregisterCloseCallback: () => {},
            domainMigratePrepareTunnel3Params: async (args, _, stream) => {
              const { ret, stream: onwards } = await to.rpc.open(
                procedures.domainMigratePrepareTunnel3Params,
                args,
              );
              relay(stream, onwards);
              return ret;
            },
            domainMigrateFinish3Params: (args) => {
              finishes.push(args.cancelled);
              return to.rpc.call(procedures.domainMigrateFinish3Params, args);
            },
          }),
        ],
      });
      const { dom } = await from.rpc.call(procedures.domainCreateXml, { xmlDesc: tiny.xml, flags: 0 });
      const [live, peerToPeer, tunnelled] = [1, 2, 4];
      const performed = from.rpc.call(procedures.domainMigratePerform3Params, {
        dom,
        dconnuri: `qemu+unix:///system?socket=${path}`,
        params: [],
        cookieIn: new Uint8Array(),
        flags: live | peerToPeer | tunnelled,
      });
      performed.catch(() => {});
      const stateAt = async ({ rpc }: OpenConnection) => {
        const there = await rpc.call(procedures.domainLookupByUuid, { uuid: tiny.uuid });
        return (await rpc.call(procedures.domainGetState, { ...there, flags: 0 })).state;
      };
      return { from, to, performed, finishes, stateAt };
    }

    test("moves the guest to the other side", async () => {
      let bytes = 0;
      const { from, to, performed, finishes, stateAt } = await tunnelling((stream, onwards) => {
        stream.on("data", (some: Buffer) => {
          bytes += some.length;
        });
        onwards.resume();
        void pipeline(stream, onwards).then(() => stream.end());
      });
      await performed;
      expect(finishes).toEqual([0]);
      expect(bytes).toBeGreaterThan(65_536);
      expect(await stateAt(to)).toBe(domainStates.running);
      await expect(stateAt(from)).rejects.toMatchObject({ code: errorCodes.NO_DOMAIN });
      const { dom } = await to.rpc.call(procedures.domainLookupByUuid, { uuid: tiny.uuid });
      const { type, params } = await to.rpc.call(procedures.domainGetJobStats, { dom, flags: 1 });
      expect(type).toBe(jobTypes.completed);
      expect(params).toContainEqual({ field: "operation", type: "int", value: expect.any(Number) });
    });

    test("leaves the guest where it is when the tunnel breaks", async () => {
      const { from, to, performed, finishes, stateAt } = await tunnelling((stream, onwards) => {
        stream.once("data", () => {
          onwards.destroy();
          stream.destroy(
            new LibvirtError({
              code: errorCodes.OPERATION_FAILED,
              domain: errorDomains.QEMU,
              message: "the tunnel fell in",
            }),
          );
        });
      });
      await expect(performed).rejects.toBeInstanceOf(LibvirtError);
      expect(finishes).toEqual([1]);
      expect(await stateAt(from)).toBe(domainStates.running);
      await expect(stateAt(to)).rejects.toMatchObject({ code: errorCodes.NO_DOMAIN });
    });
  },
);
