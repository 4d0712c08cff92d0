/** Clients that leave the loopback interface out need another one. e2e/run.sh makes one where the machine has none and it may. */

import { networkInterfaces } from "node:os";

/** Why tests with such clients cannot run; `false` if they can. For the option `skip` of a test. */
export function lacksNetwork() {
  const addresses = Object.values(networkInterfaces()).flat();
  if (addresses.some(({ internal, family }) => !internal && family === "IPv4")) return false;
  return "this machine has no network interface besides loopback, and making one needs root";
}

/** Says in the output of a run that tests were left out, and why; returns the reason for the option `skip`. */
export function skipAloud(what, why) {
  if (why) console.log(`SKIPPED: ${what}: ${why}`);
  return why;
}
