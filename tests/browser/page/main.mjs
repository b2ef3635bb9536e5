// What runs in the page: the driver calls one of these, and prints what it returns.
import { answers, reach } from './answers.mjs';
import { events } from './events.mjs';
import { comeBack, login } from './login.mjs';
import { again, resume } from './resume.mjs';
import { tour } from './tour.mjs';

globalThis.scenarios = { again, answers, events, login, reach, resume, tour };
comeBack();
