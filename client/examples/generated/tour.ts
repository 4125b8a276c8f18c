// Use the types that openapi-typescript generates: log in, look, submit, sweep, create a user.
import createClient from "openapi-fetch";
import type { paths } from "./resop_api.js";

type Output<Path extends keyof paths> = paths[Path] extends {
  post: { responses: { 200: { content: { "application/json": { output?: infer Found } } } } };
}
  ? NonNullable<Found>
  : never;

const url = process.argv[2]!;
const given = (name: string): string => process.env[name]!;

function outputOf<Path extends keyof paths>(
  _path: Path,
  answer: { data?: object; error?: unknown },
): Output<Path> {
  if (!answer.data || !("output" in answer.data)) {
    throw new Error(JSON.stringify(answer.error ?? answer.data));
  }
  return answer.data.output as Output<Path>;
}

async function logIn(username: string, password: string) {
  const client = createClient<paths>({ baseUrl: url });
  const answer = await client.POST("/auth/opn/login", { body: { username, password } });
  const { token } = outputOf("/auth/opn/login", answer);
  return createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
}

const user = await logIn(given("USERNAME"), given("PASSWORD"));
const nodes = outputOf("/slurm/opn/nodes", await user.POST("/slurm/opn/nodes", {}));
if (!Array.isArray(nodes) || !nodes.every((node) => node.name && node.state)) {
  throw new Error("this is no list of nodes");
}

const script = "#!/bin/sh\ntrue\n";
const submitted = await user.POST("/slurm/opn/submit", { body: { script, time_limit: 5 } });
const job = outputOf("/slurm/opn/submit", submitted).job;
const refused = await user.POST("/slurm/opn/submit", { body: { script, ntasks: -1 } });

const parameters = { T: [0.5, 1.5], SEED: { start: 1, stop: 2 } };
const swept = await user.POST("/slurm/opn/sweep", { body: { script, parameters } });
const sweep = outputOf("/slurm/opn/sweep", swept);

const admin = await logIn(given("ADMIN"), given("ADMIN_PASSWORD"));
const name = given("NEW_USER");
const made = await admin.POST("/hpccenter/opn/create_user", {
  body: {
    username: name,
    full_name: "Gene Rated",
    mail: `${name}@hpc.example`,
    account: "project1",
    generate_password: true,
  },
});
const created = outputOf("/hpccenter/opn/create_user", made);

const done = {
  nodes: nodes.length,
  job,
  refused: refused.error?.error.type,
  sweep: sweep.job,
  runs: sweep.runs,
  created: created.user?.username,
};
console.log(JSON.stringify(done));
