// Certificates for QEMU's own TLS, under QEMU's names: libvirt has other ones for its daemons.

import { cpSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Authority } from "../rpc/pki.js";

/** A directory with everything for a destination named `host`, also 127.0.0.1, and for its sources. */
export function qemuPki(directory: string, name: string, host: string): string {
  const authority = new Authority(directory, name);
  const server = authority.issue("server", `/CN=${host}`, { names: `DNS:${host},IP:127.0.0.1` });
  for (const from of [server, authority.issue("client", "/CN=source")])
    for (const file of readdirSync(from).filter((it) => it.endsWith(".pem")))
      cpSync(join(from, file), join(server, file.replace(/^(ca|server|client)/, "$1-")));
  return server;
}
