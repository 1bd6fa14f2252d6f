// Makes switchoverd look like an older host: a relay hides some feature bits, and records which procedures clients call.

import { connect } from "node:net";
import { features } from "../../src/drivers/libvirt/rpc/constants.js";
import { encodeFrame, type Frame, FrameSplitter } from "../../src/drivers/libvirt/rpc/frame.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import { decode } from "../../src/drivers/libvirt/rpc/xdr.js";
import { rawServer } from "./rpc-pair.js";

type Feature = keyof typeof features;
const { connectSupportsFeature } = remote.procedures;
const names = new Map(Object.entries(remote.procedures).map(([name, { number }]) => [number, name]));

export interface Elder {
  readonly uri: string;
  /** The procedures that clients called, in order. */
  steps(): readonly string[];
}

/** `uri` names a unix socket. */
export async function elder(uri: string, hidden: readonly Feature[]): Promise<Elder> {
  const asked: string[] = [];
  const socket = new URL(uri).searchParams.get("socket") ?? "";
  const numbers = hidden.map((text) => features[text] as number);
  const path = await rawServer((client) => {
    const host = connect(socket);
    const serials = new Set<number>();
    const relay = (from: typeof host, to: typeof host, change: (frame: Frame) => Uint8Array) => {
      const splitter = new FrameSplitter();
      from.on("data", (bytes) => {
        for (const frame of splitter.push(bytes)) to.write(encodeFrame(frame.header, change(frame)));
      });
      from.on("close", () => to.destroy());
      from.on("error", () => {});
    };
    relay(client, host, ({ header, body }) => {
      if (header.type !== "call" || header.program !== remote.number) return body;
      asked.push(names.get(header.procedure) ?? `${header.procedure}`);
      if (header.procedure === connectSupportsFeature.number) {
        const { feature } = decode(connectSupportsFeature.args, body);
        if (numbers.includes(feature)) serials.add(header.serial);
      }
      return body;
    });
    relay(host, client, ({ header, body }) =>
      header.type === "reply" && serials.delete(header.serial) ? new Uint8Array(4) : body,
    );
  });
  return {
    uri: `qemu+unix:///system?socket=${path}`,
    steps: () => asked.filter((text) => text.startsWith("domainMigrate")),
  };
}
