// Creates certificates for QEMU's own TLS, under QEMU's file names; libvirt uses other names for its daemons.

import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { Authority } from "./pki.js";

/** Creates a directory with all files for a destination named `host`, also 127.0.0.1, and for its sources. */
export function qemuPki(directory: string, name: string, host: string): string {
  const authority = new Authority(directory, name);
  const server = authority.issue("server", `/CN=${host}`, { names: `DNS:${host},IP:127.0.0.1` });
  for (const from of [server, authority.issue("client", "/CN=source")])
    for (const file of readdirSync(from).filter((text) => text.endsWith(".pem")))
      cpSync(join(from, file), join(server, file.replace(/^(ca|server|client)/, "$1-")));
  return server;
}

/** A directory for all tests of a file; each test has its own one for temporary files. */
const temporary = tmpdir();

/** Creates two unrelated authorities for the tests of one `describe`, each with both sides' certificates. */
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
    /** The first authority's credentials, for a test to damage. */
    copied,
    /** The first authority's files, except for these, which are the second one's. */
    mixed: (...files: string[]): string => {
      const directory = copied("mixed");
      for (const file of files) cpSync(join(made.strangers, file), join(directory, file));
      return directory;
    },
  };
}
