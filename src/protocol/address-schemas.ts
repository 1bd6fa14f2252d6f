// zod schemas for the addresses of peer-text.ts: for data that is read back from disk, and for data that QEMU's
// monitor sends.

import * as z from "zod/mini";
import {
  type ConnectionUri,
  type HostName,
  isConnectionUri,
  isHostName,
  isSocketPath,
  isStreamAddress,
  type SocketPath,
  type StreamAddress,
} from "./peer-text.js";

const textThat = <Kind extends string>(isValid: (text: string) => text is Kind, what: string) =>
  z.pipe(
    z.string(),
    z.custom<Kind>((value) => typeof value === "string" && isValid(value), `it must be ${what}`),
  );

export const streamAddress = textThat<StreamAddress>(isStreamAddress, "unix:/path or tcp:host:port");
export const hostName = textThat<HostName>(isHostName, "a host's name or address");
export const socketPath = textThat<SocketPath>(isSocketPath, "the path of a unix socket");
export const connectionUri = textThat<ConnectionUri>(isConnectionUri, "a libvirt connection URI");
