// Creates certificates for one test with openssl, in directories with libvirt's file names.

import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
if (!hasOpenssl) console.warn("TLS is not tested: there is no openssl here");

export class Authority {
  readonly #directory: string;

  constructor(directory: string, name: string) {
    this.#directory = join(directory, name);
    mkdirSync(join(this.#directory, "issued"), { recursive: true });
    this.#openssl(
      `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out cacert.pem -days 2 -subj /CN=${name}`,
    );
    writeFileSync(join(this.#directory, "index"), "");
    writeFileSync(
      join(this.#directory, "ca.cnf"),
      "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=2\n",
    );
  }

  /** Creates a directory, unless one is given, with the authority's certificate, and a certificate with its key for `side`. */
  issue(
    side: "client" | "server",
    subject: string,
    {
      names = "DNS:localhost,IP:127.0.0.1",
      directory = join(this.#directory, `${side}-${subject.replaceAll(/\W/g, "")}`),
    } = {},
  ): string {
    mkdirSync(directory, { recursive: true });
    const at = (file: string) => join(directory, file);
    this.#openssl(
      `req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${at(`${side}key.pem`)} -out ${at("request")} -utf8 -subj`,
      subject,
    );
    writeFileSync(join(directory, "extensions"), `subjectAltName=${names}\n`);
    this.#openssl(
      `x509 -req -in ${at("request")} -CA cacert.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ${at("extensions")} -out ${at(`${side}cert.pem`)}`,
    );
    copyFileSync(join(this.#directory, "cacert.pem"), join(directory, "cacert.pem"));
    return directory;
  }

  /** Puts this client's certificate on a revocation list where the server reads it. */
  revoke(clientDirectory: string, serverDirectory: string): void {
    const by = "-config ca.cnf -cert cacert.pem -keyfile ca.key";
    this.#openssl(`ca ${by} -revoke`, join(clientDirectory, "clientcert.pem"));
    this.#openssl(`ca ${by} -gencrl -out`, join(serverDirectory, "cacrl.pem"));
  }

  #openssl(command: string, ...more: string[]): void {
    execFileSync("openssl", [...command.split(" "), ...more], { cwd: this.#directory, stdio: "pipe" });
  }
}
