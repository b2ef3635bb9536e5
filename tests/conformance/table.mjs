// What is printed: Markdown tables, so that they can be copied as they are.
import { inexcusable } from './faults.mjs';

/** Each scenario: how many of its checks passed and failed, in each suite on each stage. */
export function scenarioTable(results) {
  const names = [...new Set(results.flatMap(({ scenarios }) => scenarios.map(({ name }) => name)))];
  const head = ['checks passed/failed', ...results.map(({ stage, suite }) => `${suite.name}: ${stage}`)];
  const rows = names.map((name) => [name, ...results.map(({ scenarios }) => cell(scenarios.find((s) => s.name === name)))]);
  return table(head, rows);
}

function cell(scenario) {
  if (!scenario) return '';
  const { succeeded, failed, warned, required } = scenario;
  const warnings = warned > 0 ? `, ${warned} warned` : '';
  return `${succeeded}/${failed}${warnings}${required ? '' : ' *'}`;
}

/** Each suite: how many scenarios passed, on each stage. */
export function summaryTable(results) {
  const stages = [...new Set(results.map(({ stage }) => stage))];
  const suites = [...new Set(results.map(({ suite }) => suite))];
  const rows = suites.map((suite) => [
    suite.name,
    ...stages.map((stage) => passed(results.filter((result) => result.suite === suite && result.stage === stage))),
  ]);
  return `${table(['scenarios passed', ...stages], rows)}\n\n(*) not scored by the suite`;
}

/** Each suite: how many scenarios passed in all rounds, and which did not always, and why. */
export function faultsTable(results, rounds) {
  const suites = [...new Set(results.map(({ suite }) => suite))];
  const rows = suites.map((suite) => {
    const runs = results.filter((result) => result.suite === suite);
    const failed = runs.flatMap(({ scenarios }) => scenarios).filter(({ passed, required }) => required && !passed);
    const [excused, others] = [failed.filter((scenario) => !inexcusable(scenario)), failed.filter(inexcusable)];
    return [suite.name, passed(runs), names(excused), names(others)];
  });
  return table([`scenarios passed in ${rounds} rounds`, 'passed', 'cut off, and not sent again', 'failed'], rows);
}

function names(scenarios) {
  const times = Map.groupBy(scenarios, ({ name }) => name);
  return [...times].map(([name, all]) => `${name} ${all.length}x`).join(', ') || 'none';
}

function passed(results) {
  const scenarios = results.flatMap((result) => result.scenarios);
  const count = (of) => `${of.filter((scenario) => scenario.passed).length} of ${of.length}`;
  const scored = scenarios.filter(({ required }) => required);
  const other = scenarios.filter(({ required }) => !required);
  return other.length > 0 ? `${count(scored)}, and ${count(other)} not scored` : count(scored);
}

/** A line for each check that failed, with what a kill cut off. */
export function failures(results) {
  return results.flatMap(({ stage, suite, scenarios }) =>
    scenarios.flatMap(({ name, why, cut = [] }) => {
      const lost = cut.map(({ method, node, state }) => ` [${node} was killed: ${method} ended as ${state}]`).join('');
      return why.map((reason) => `failed: ${suite.name}, ${stage}, ${name}, ${reason}${lost}`);
    }),
  );
}

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
