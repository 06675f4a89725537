#include "rules/schedule.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "random.hpp"

using namespace lifecycle::rules;
using lifecycle::test::Random;

namespace {

// Cart recovery with an hour of one microsecond: after 1, 24 and 72 hours, each while it makes sense.
const std::vector<StepWindow> kCart{{1, 24}, {24, 72}, {72, 120}};

}  // namespace

TEST(Schedule, NothingIsSentBeforeTheFirstStepIsDue) {
    auto d = decide(kCart, 0, 0);
    EXPECT_EQ(d.send, kNoStep);
    EXPECT_EQ(d.next, 0u);
}

TEST(Schedule, StepsAreSentOneByOneFromTheInstantTheyAreDue) {
    auto d = decide(kCart, 0, 1);
    EXPECT_EQ(d.send, 0u);
    EXPECT_EQ(d.next, 1u);
    EXPECT_EQ(decide(kCart, d.next, 23).send, kNoStep);
    EXPECT_EQ(decide(kCart, d.next, 24).send, 1u);
}

TEST(Schedule, AfterAnOutageOnlyTheLatestStepThatIsStillValidIsSent) {
    std::vector<StepWindow> patient{{1, kNever}, {24, kNever}, {72, kNever}};
    auto d = decide(patient, 0, 100);
    EXPECT_EQ(d.send, 2u);
    EXPECT_EQ(d.next, 3u);
}

TEST(Schedule, AnEarlierStepIsSentIfTheLaterOneHasPassed) {
    std::vector<StepWindow> steps{{1, 100}, {24, 48}};
    EXPECT_EQ(decide(steps, 0, 50).send, 0u);
}

TEST(Schedule, AWindowEndsAtItsInstantAndNotAfterIt) {
    EXPECT_EQ(decide(kCart, 2, 119).send, 2u);
    auto d = decide(kCart, 2, 120);
    EXPECT_EQ(d.send, kNoStep);
    EXPECT_EQ(d.next, 3u);
}

TEST(Schedule, WithoutStepsThereIsNothingToDo) {
    EXPECT_EQ(decide({}, 0, 100).send, kNoStep);
    EXPECT_EQ(decide(kCart, 3, 1000).next, 3u);
}

TEST(ScheduleProperty, WheneverTheWorkerLooksEachStepIsDecidedOnceAndSentOnlyInItsWindow) {
    Random random;
    for (int run = 0; run < 5000; ++run) {
        std::vector<StepWindow> steps;
        Instant due = 0;
        for (auto n = random.between(0, 6); n > 0; --n) {
            due += random.between(0, 10);
            steps.push_back({due, random.chance(20) ? kNever : due + random.between(1, 30)});
        }
        std::vector<int> sent(steps.size());
        std::size_t next = 0;
        for (Instant now = random.between(-5, 5); now < 120; now += random.between(0, 25) + 1) {
            auto d = decide(steps, next, now);
            ASSERT_GE(d.next, next);
            // All that is due has been decided, and nothing that is not.
            for (std::size_t i = next; i < d.next; ++i) ASSERT_LE(steps[i].due, now);
            if (d.next < steps.size()) {
                ASSERT_GT(steps[d.next].due, now);
            }

            std::size_t latest_valid = kNoStep;
            for (std::size_t i = next; i < d.next; ++i) {
                if (now < steps[i].expires) latest_valid = i;
            }
            ASSERT_EQ(d.send, latest_valid) << "run " << run << ", now " << now;
            if (d.send != kNoStep) ++sent[d.send];
            next = d.next;
        }
        for (int times : sent) ASSERT_LE(times, 1);
        ASSERT_EQ(next, steps.size());
    }
}
