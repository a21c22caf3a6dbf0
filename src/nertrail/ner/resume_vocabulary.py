"""The words of the synthetic résumés, and which split may use which.

Many are ambiguous on purpose: May and June are months and first names, Java, Ruby, Swift and Spark are skills and an
island, a first name, a surname and a company, Washington and Lincoln are people, places and universities. Employers
are invented; e-mail hosts and telephone numbers lie in the ranges reserved for examples.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(word.split()) for word in text.split(","))


FIRST_NAMES = _words(
    """
    Anna, May, June, April, Ruby, Georgia, Florence, Chelsea, Jordan, Austin, Paris, Sydney, Dakota, Madison, Grace,
    Mark, Bill, Will, Rich, Frank, Victor, Rose, Daisy, Faith, José, Zoë, Søren, Łukasz, Thandiwe, Priya, Wei, Yuki,
    Omar, Fatima, Kofi, Ingrid, Mateo, Svetlana, Dimitri, Aisha, Nils, Chloé, Rajesh, Mei, Hiroshi, Amara, Björn,
    Elena, Tomás, Leila, Samuel, Hannah, Oliver, Emma, Lucas, Maria, David, Sarah, Peter, Julia, Ahmed, Nadia, Viktor,
    Carmen
    """
)
LAST_NAMES = _words(
    """
    Washington, Lincoln, Jordan, Swift, Hudson, Morgan, Chase, Wells, Ford, Austin, London, Banks, March, Baker, Cook,
    Mason, Carpenter, Young, Small, Rivers, Stone, Frost, Winter, Day, Jensen, Nguyễn, García, Müller, Kowalski,
    Okafor, Patel, Tanaka, Haddad, Ivanova, Mensah, Lindqvist, Rossi, Petrov, Nair, Chen, Fernández, Dubois, O'Brien,
    van Dijk, Clarke, Walker, Hughes, Schmidt, Novák, Silva, Costa, Kaya, Yılmaz, Andersson, Weber, Fischer, Moreau,
    Singh, Khan, Abebe
    """
)
CITIES = _words(
    """
    Washington/DC, Lincoln/NE, Java/Indonesia, Amman/Jordan, Tbilisi/Georgia, Phoenix/AZ, Paris/TX, Florence/Italy,
    Sydney/Australia, Austin/TX, Madison/WI, Hudson/NY, Mobile/AL, Reading/UK, Bath/UK, Nice/France, Cork/Ireland,
    Orange/CA, London/Ontario, Berlin/Germany, Hamburg/Germany, Zürich/Switzerland, Lyon/France, Madrid/Spain,
    Porto/Portugal, Oslo/Norway, Malmö/Sweden, Kraków/Poland, Prague/Czechia, Vienna/VA, Dublin/OH, Leeds/UK,
    Bristol/UK, Toronto/Canada, Boston/MA, Chicago/IL, Denver/CO, Seattle/WA, Atlanta/Georgia, Dallas/TX,
    Nairobi/Kenya, Accra/Ghana, Lagos/Nigeria, Cairo/Egypt, Dubai/UAE, Mumbai/India, Pune/India, Chennai/India,
    Osaka/Japan, Seoul/Korea, Lima/Peru, Bogotá/Colombia, São Paulo/Brazil, Cape Town/South Africa, New Orleans/LA,
    San Jose/CA, Buenos Aires/Argentina, Kuala Lumpur/Malaysia, Helsinki/Finland, Turku/Finland, Ghent/Belgium,
    Utrecht/NL, Graz/Austria, Bremen/Germany, Leipzig/Germany, Verona/Italy, Bilbao/Spain, Olympia/Washington,
    Spokane/Washington
    """
)
COMPANY_STEMS = _words(
    """
    Brightwater, Nimbus, Phoenix, Orange Tree, Spark, Swift, Oracle Hill, Jordan, Hudson, Lincoln, Java House,
    Redwood, Blue Heron, Northgate, Kestrel, Ironbridge, Solstice, Meridian, Harbour, Cobalt, Lumen, Quarry,
    Tidewater, Foxglove, Granite, Halcyon, Juniper, Larkspur, Monarch, Onyx, Pinnacle, Quill, Ravenswood, Silverline,
    Tamarack, Umbra, Vantage, Westfield, Yarrow, Zephyr, Alder, Beacon, Cedar, Dovetail, Elmstone, Fairway, Goldcrest,
    Hawthorn, Inkwell, Keystone
    """
)
COMPANY_ENDINGS = _words(
    """
    Labs, Systems, Logistics, Bank, Foods, Group, Consulting, Analytics, Software, Media, Health, Energy, Insurance,
    Airlines, Partners, Inc., Ltd, GmbH, & Sons, & Co., Technologies, Retail, Motors, Studio
    """
)
LEVELS = _words("Senior, Junior, Lead, Principal, Assistant, Chief, Deputy, Trainee, Staff, Associate")
ROLES = _words(
    """
    Software Engineer, Data Scientist, Data Analyst, Accountant, Project Manager, Product Manager, Nurse, Teacher,
    Graphic Designer, Copywriter, Sales Representative, Marketing Manager, Web Developer, Java Developer, SQL
    Developer, Python Engineer, DevOps Engineer, Network Administrator, Database Administrator, Business Analyst, HR
    Officer, Recruiter, Chemist, Mechanical Engineer, Civil Engineer, Architect, Paralegal, Office Manager, Warehouse
    Supervisor, Chef, Translator, Auditor, Financial Controller, Excel Trainer, Research Assistant, Lecturer, QA
    Tester, Security Analyst, Technical Writer, Operations Coordinator, Account Executive, Head of Sales, Director of
    Operations, Consultant
    """
)
SKILLS = _words(
    """
    Java, Python, Ruby, Swift, Go, R, C++, Rust, Spark, Spring, Excel, Word, Oracle, Access, Tableau, Express, React,
    Flask, Rails, Scala, Kotlin, Perl, SQL, NoSQL, MongoDB, PostgreSQL, Redis, Kafka, Docker, Kubernetes, Terraform,
    Ansible, Jenkins, Git, Linux, AWS, Azure, Hadoop, pandas, NumPy, PyTorch, TensorFlow, MATLAB, SPSS, SAS, SAP,
    Salesforce, Photoshop, InDesign, Figma, AutoCAD, SolidWorks, QuickBooks, bookkeeping, payroll, budgeting,
    negotiation, public speaking, forecasting, machine learning, data analysis, project management, market research,
    copy editing, patient care, risk assessment, cold calling, stock control, event planning, Scrum, Kanban, Six
    Sigma, HTML, CSS, JavaScript, TypeScript, GraphQL, Power BI, statistics, A/B testing, lesson planning, welding,
    first aid, food safety, technical drawing, time management
    """
)
SUBJECTS = _words(
    """
    Computer Science, Mathematics, Physics, Economics, Business Administration, Fine Arts, Biology, Nursing, History,
    Mechanical Engineering, Accounting, Psychology, Law, Linguistics, Statistics, Marketing, Chemistry, Philosophy
    """
)
THINGS = _words(
    """
    billing system, customer portal, sales reports, monthly accounts, training programme, supply chain, mobile app,
    data warehouse, hiring process, online shop, call centre, safety audit, newsletter, test suite, ward schedule,
    price list, inventory, annual budget, search engine, payment service, lesson plans, product catalogue
    """
)
FIELDS = _words(
    """
    banking, retail, health care, logistics, education, insurance, manufacturing, publishing, public service, tourism,
    energy, telecoms
    """
)
HOBBIES = _words(
    """
    sailing, chess, jazz, hiking, baking, pottery, football, theatre, gardening, running, photography, reading
    """
)
LANGUAGES = _words("English, German, Spanish, Polish, Hindi, French, Arabic, Mandarin, Portuguese, Swedish")
DEGREES = _words("B.Sc., M.Sc., BA, Bachelor of Arts, Bachelor, Master, Master of Science, PhD, Diploma")
MONTHS = _words("January, February, March, April, May, June, July, August, September, October, November, December")

HELD_OUT = 0.2
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Vocabulary:
    """The values one split may draw from."""

    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    cities: tuple[str, ...]
    company_stems: tuple[str, ...]
    roles: tuple[str, ...]
    skills: tuple[str, ...]
    subjects: tuple[str, ...]


def vocabulary(split: str) -> Vocabulary:
    """Return the words of one split: validation and test each have some that no other split has."""
    return Vocabulary(
        first_names=_visible(FIRST_NAMES, split),
        last_names=_visible(LAST_NAMES, split),
        cities=_visible(CITIES, split),
        company_stems=_visible(COMPANY_STEMS, split),
        roles=_visible(ROLES, split),
        skills=_visible(SKILLS, split),
        subjects=_visible(SUBJECTS, split),
    )


def _visible(values: Sequence[str], split: str) -> tuple[str, ...]:
    """Cut one shuffled list into a shared part and a part each for validation and test."""
    shuffled = list(values)
    random.Random("held out").shuffle(shuffled)
    own = int(len(shuffled) * HELD_OUT)
    kept = {"train": [], "validation": shuffled[:own], "test": shuffled[own : 2 * own]}[split]
    return (*shuffled[2 * own :], *kept)
