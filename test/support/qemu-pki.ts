// Certificates for QEMU's own TLS, under QEMU's names: libvirt has other ones for its daemons.

import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { Authority } from "./pki.js";

/** A directory with everything for a destination named `host`, also 127.0.0.1, and for its sources. */
export function qemuPki(directory: string, name: string, host: string): string {
  const authority = new Authority(directory, name);
  const server = authority.issue("server", `/CN=${host}`, { names: `DNS:${host},IP:127.0.0.1` });
  for (const from of [server, authority.issue("client", "/CN=source")])
    for (const file of readdirSync(from).filter((text) => text.endsWith(".pem")))
      cpSync(join(from, file), join(server, file.replace(/^(ca|server|client)/, "$1-")));
  return server;
}

/** Each test has a directory of its own for temporary files, and these are for all of them. */
const temporary = tmpdir();

/** For the tests of one `describe`: two authorities that do not know one another, each with both sides' certificates. */
export function twoAuthorities() {
  const made = { root: "", credentials: "", strangers: "" };
  beforeAll(() => {
    made.root = mkdtempSync(join(temporary, "pki-"));
    made.credentials = qemuPki(made.root, "one", "here.example");
    made.strangers = qemuPki(made.root, "other", "here.example");
  });
  afterAll(() => rmSync(made.root, { recursive: true, force: true }));
  const copied = (name: string): string => {
    const directory = mkdtempSync(join(made.root, `${name}-`));
    cpSync(made.credentials, directory, { recursive: true });
    return directory;
  };
  return {
    made,
    /** The one's credentials, to be spoiled. */
    copied,
    /** The one's, but for these files, which are the other's. */
    mixed: (...files: string[]): string => {
      const directory = copied("mixed");
      for (const file of files) cpSync(join(made.strangers, file), join(directory, file));
      return directory;
    },
  };
}
