"""A class as LMSs export it: read, entered into the gradebook, known to others."""

import pytest
from small_course import course

from autograde.errors import CourseError
from autograde.grading.gradebook import open_gradebook
from autograde.grading.roster import Person, enter, known, read_roster

__all__ = ["course"]

CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,Map (991)
    Points Possible,,,,,20.00
"Liddell, Alice",12345,s1,alice,Group 1,
"Müller, Zoë",12346,s2,,Group 1,15
"Student, Test",99999,,0123456789abcdef,Group 1,
"""
MOODLE = """First name,Last name,ID number,Institution,Department,Email address,Course total
Alice,Liddell,700,,,alice@example.org,3
Bob,Carroll,701,,,,4
"""
NBGRADER = "id,first_name,last_name,email,lms_user_id\nalice,Alice,Liddell,alice@example.org,12345\n"
ALICE = Person("alice", "Alice", "Liddell")


def read(tmp_path, content):
    path = tmp_path / "class.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_roster(path)


def test_canvas_gives_logins_and_no_test_student(tmp_path):
    assert read(tmp_path, CANVAS) == [
        Person("alice", "Alice", "Liddell", "", "12345"),
        Person("12346", "Zoë", "Müller", "", "12346"),
    ]
    manual = CANVAS.replace("    Points", ",,,,,Manual Posting\n    Points")
    assert len(read(tmp_path, manual)) == 2


def test_moodle_gives_usernames_else_addresses_else_numbers(tmp_path):
    assert [person.id for person in read(tmp_path, MOODLE)] == ["alice@example.org", "701"]
    assert read(tmp_path, MOODLE)[0] == Person(
        "alice@example.org", "Alice", "Liddell", "alice@example.org", "700"
    )
    older = "Username,First name,Surname,Email address\nalice,Alice,Liddell,alice@example.org\n"
    assert read(tmp_path, older) == [Person("alice", "Alice", "Liddell", "alice@example.org")]


def test_nbgraders_own_and_a_list(tmp_path):
    assert read(tmp_path, NBGRADER) == [Person("alice", "Alice", "Liddell", "alice@example.org", "12345")]
    assert read(tmp_path, 'student,name\nalice,"Liddell, Alice"\n') == [ALICE]
    assert read(tmp_path, "Student;Name\r\nalice;Alice Liddell\r\n\r\n") == [ALICE]
    assert read(tmp_path, "student\nalice\n") == [Person("alice")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_spreadsheets_write_is_read(tmp_path, encoding, delimiter):
    text = "student,name\r\nzoë,Zoë Müller\r\n".replace(",", delimiter)
    assert read(tmp_path, text.encode(encoding)) == [Person("zoë", "Zoë", "Müller")]


def test_one_name_written_in_two_ways_is_one_id(tmp_path):
    with pytest.raises(CourseError, match="row 3: the id 'zoë' of row 2 again"):
        read(tmp_path, "student\nzoë\nzoe\u0308\n")


@pytest.mark.parametrize(
    "content, said",
    (
        ("Vorname,Nachname\nAlice,Liddell\n", r"columns \(Vorname, Nachname\) are none of those expected"),
        ("First name,Last name\nAlice,Liddell\n", "none of those expected"),
        ("student,name\n../x,Alice\n", r"row 2: the id '\.\./x', where a student's folder"),
        ("student,name\nalice,A\nalice,B\n", "row 3: the id 'alice' of row 2 again"),
        ("student,name\nalice,A\n,B\n", "row 3: no id"),
        ("student,name\n" + "/\n" * 9, "row 4: .*; 6 more. Mend the file"),
        ("student,name\n", "nobody is in it"),
        ("", "is empty"),
        ("student\nZoë\n".encode("cp1252"), "no text in UTF-8 or UTF-16"),
        ('student\n"' + "x" * 200_000, "is no CSV file"),
    ),
)
def test_what_is_odd_is_said_in_one_line(tmp_path, content, said):
    with pytest.raises(CourseError, match=said) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CourseError, match="cannot be read: No such file"):
        read_roster(tmp_path / "none.csv")


def test_people_are_entered_changed_and_kept(course):
    people = [Person("alice", "Alice", "Liddell", "a@example.org", "1"), Person("bob")]
    assert enter(course, people).added == ["alice", "bob"]
    assert known(course) == {person.id: person for person in people}
    again = enter(course, [Person("alice", "Alicia", "Liddell"), Person("zoë", "Zoë", "Müller")])
    assert (again.added, again.changed, again.not_in_file) == (["zoë"], ["alice"], ["bob"])
    assert known(course)["alice"] == Person("alice", "Alicia", "Liddell", "a@example.org", "1")
    assert enter(course, people[1:]).unchanged == ["bob"]
    assert "kept: alice, zoë" in enter(course, people[1:]).lines()[1]


def test_one_of_whom_there_is_only_a_submission_is_not_known(course):
    assert known(course) == {} and not course.grading.exists()
    enter(course, [ALICE])
    with open_gradebook(course) as gradebook:
        gradebook.update_or_create_student("stranger")
    assert list(known(course)) == ["alice"]
    enter(course, [Person("stranger")])
    assert list(known(course)) == ["alice", "stranger"]


def test_a_locked_gradebook_is_one_line(course):
    enter(course, [ALICE])
    (course.grading / "gradebook.db").write_bytes(b"no database" * 100)
    with pytest.raises(CourseError, match="Cannot use"):
        known(course)
