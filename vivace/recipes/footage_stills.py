"""The table of still photographs, over which training pans and zooms: packages, paths and licences.

Owns only rows; the clips' table is `footage_clips`.
"""

from dataclasses import dataclass

from vivace.recipes.footage_packages import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class StillSource:
    """Photographs under one licence; `folder` of the package holds `paths` or is a Qt `.rcc` file of them."""

    package: Package
    folder: str
    paths: tuple[str, ...]
    licence: str
    attribution: str


def _names(text: str, suffix: str = "") -> tuple[str, ...]:
    return tuple(word + suffix for word in text.split())


MVTB = Package(registry="pypi", name="mvtb-data", version="1.6.1")
MEDIA = Package(registry="pypi", name="media-analyzer", version="0.3.7", is_sdist=True)
SKLEARN = Package(registry="pypi", name="scikit-learn", version="1.9.1")
FORENSICS = Package(registry="debian", name="forensics-samples-files", version="1.1.4-5")
PLASMA = Package(registry="debian", name="plasma-workspace-wallpapers", version="4:5.27.5-2")
MATE = Package(registry="debian", name="mate-backgrounds", version="1.26.0-1")
LOMIRI = Package(registry="debian", name="lomiri-wallpapers-16.04", version="20.04.0-2")
SKIMAGE = Package(registry="debian", name="python3-skimage", version="0.19.3-8")
OPENCV = Package(registry="debian", name="opencv-doc", version="4.6.0+dfsg-12")
JXL = Package(registry="debian", name="libjxl-testdata", version="0.0~git20230110.d6168ff-1")
PALAPELI = Package(registry="debian", name="palapeli-data", version="4:22.12.3-1")
GCOMPRIS = Package(registry="debian", name="gcompris-qt-data", version="3.1-2")

APACHE = "Apache-2.0 (package)"
MIT = "MIT (package)"
GCOMPRIS_RCC = "usr/share/gcompris-qt/rcc/"

STILLS = (
    StillSource(
        package=GCOMPRIS,
        folder=GCOMPRIS_RCC + "erase.rcc",
        paths=_names(
            "alpaca bee butterfly calf camels caterpillar chamaeleon cheetah crab dolphin flying_fox"
            " gibbon giraffe goat gorilla gosling heron horse kingfisher kitten long_nosed_monkey"
            " macaque meerkats northern_harrier nubian_ibex penguin pika red_panda rhinoceros spoonbills"
            " squirrel swans toucan",
            ".webp",
        ),
        licence="CC-BY-SA-4.0, CC-BY-2.0/3.0, CC0-1.0 or public domain, see the .rcc file's README",
        attribution=(
            "D. Rabich, aussiegall, Jee & Rani, B. Morin, A. Frolov, I. Leidus, B. Trapp, C. J."
            " Sharp, Nosferattus, T. Shema, A. Mercer, JJ Harrison, S. Cambelo, JoachimKohlerBremen,"
            " S. Sprinz, Eatcha, Frank-2.0, GalgenTX, PJeganathan, F. Schulenburg, Rhododendrites, G."
            " Leggett, NPS, M. Appel, R. Sergey, R. Naumov, LG Nyqvist (Wikimedia Commons)"
        ),
    ),
    StillSource(
        package=GCOMPRIS,
        folder=GCOMPRIS_RCC + "explore_world_animals.rcc",
        paths=_names(
            "bison chameleon crocodile dragon hedgehog jaguar kangaroo koala lemur moose narwhal polar_bear",
            ".webp",
        ),
        licence="CC0-1.0 or public domain, see the .rcc file's README",
        attribution=(
            "K. Kaiser, Nilesh1104, Djambalawa, TimVickers, G. Chernilevsky, F. Bredesen, V. Nunn,"
            " BurningWell, M. Appel, R. Hagerty, K. Laidre (Wikimedia Commons)"
        ),
    ),
    StillSource(
        package=GCOMPRIS,
        folder=GCOMPRIS_RCC + "explore_monuments.rcc",
        paths=_names(
            "arlesAmphitheater aulaPalatina berlinCathedral canyondeChelly chateaudeChambord"
            " chateaudeChenonceau chichenItza christTheRedeemer citedeCarcassonne colosseum eiffelTower"
            " gatewayofIndia greatPyramidOfGiza greatStupa greatWallofChina hawaMahal machuPicchu"
            " mountRushmore mysorePalace neuschwansteinCastle palaisdesPapes petra pontduGard rangGhar"
            " rocamadour schwerinPalace tajMahal trierImperialBaths",
            ".webp",
        ),
        licence="CC0-1.0, public domain or (three) CC-BY-SA-4.0, see the .rcc file's README",
        attribution=(
            "D. Schwen, Chensiyuan, Yann (CC-BY-SA-4.0) and the Wikimedia Commons authors in the .rcc"
            " file's README"
        ),
    ),
    StillSource(
        package=GCOMPRIS,
        folder=GCOMPRIS_RCC + "explore_farm_animals.rcc",
        paths=_names(
            "chicken cow dog horse pig sheep",
            ".webp",
        ),
        licence="CC0-1.0 or public domain, see the .rcc file's README",
        attribution="Tranquilles, Dohduhdah, H. Kemperman, S. Zeigler, Teinesavaii, R. Mitchell (Wikimedia)",
    ),
    StillSource(
        package=GCOMPRIS,
        folder=GCOMPRIS_RCC + "clickgame.rcc",
        paths=_names(
            "sea1 sea2 sea3 sea4 sea6",
            ".webp",
        ),
        licence="CC0-1.0 or public domain, see the .rcc file's README",
        attribution="Ruthven, SolarSurfer, Pseudopanax, U.S. Fish and Wildlife Service (Wikimedia Commons)",
    ),
    StillSource(
        package=PLASMA,
        folder="usr/share/wallpapers",
        paths=_names(
            "FallenLeaf Path DarkestHour Autumn summer_1am EveningGlow Grey Kite OneStandsOut"
            " ColdRipple BytheWater",
            "/contents/images/2560x1600.jpg",
        ),
        licence="LGPL-3.0",
        attribution="M. Klapetek, R. Saukonpaa, RJ Quiralta, I. Hex, S. Sagi, M. Wiklo (KDE VDG)",
    ),
    StillSource(
        package=PLASMA,
        folder="usr/share/wallpapers",
        paths=("Shell/contents/images/5120x2880.jpg",),
        licence="CC-BY-SA-4.0",
        attribution="Lucas Andrade (KDE VDG)",
    ),
    StillSource(
        package=MATE,
        folder="usr/share/backgrounds/mate/nature",
        paths=_names(
            "Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings YellowFlower",
            ".jpg",
        ),
        licence="GPL-2.0-or-later",
        attribution="C. Barbin, M. Cogoni, J. Ansorg, T. Schellhase, S. Nazarov, H. Bons and others",
    ),
    StillSource(
        package=LOMIRI,
        folder="usr/share/backgrounds",
        paths=_names(
            "Picture_0B_by_freespace Picture_1A_by_freespace Wine_by_Jakkub_Mede"
            " aitzgorri_by_Aitzol_Berasategi friends_by_Aitzol_Berasategi life_by_Aitzol_Berasategi"
            " picosdeeuropa_by_Aitzol_Berasategi sunset_by_Aitzol_Berasategi"
            " seeding_by_Clements_Engelhardt",
            ".jpg",
        ),
        licence="CC-BY-4.0 (seeding: CC0-1.0)",
        attribution="Trevor 'Freespace', Jakub Mede, Aitzol Berasategi, Clemens Engelhardt",
    ),
    StillSource(
        package=LOMIRI,
        folder="usr/share/backgrounds",
        paths=_names(
            "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly free_by_Peter_Nerlich greentock_by_Peter_Nerlich",
            ".jpg",
        ),
        licence="CC-BY-SA-4.0",
        attribution="Sander Klootwijk, Bolly, Peter Nerlich",
    ),
    StillSource(
        package=FORENSICS,
        folder="usr/share/forensics-samples/original-files",
        paths=_names(
            "pic1/IMG-20191006-WA0002.jpg pic1/IMG_1054.JPG pic2/IMG_20191224_234846.jpg"
            " pic2/IMG_20200124_231153.jpg pic2/IMG_20200608_111614.jpg"
        ),
        licence="CC-BY-SA-4.0",
        attribution="Joao Eriberto Mota Filho",
    ),
    StillSource(
        package=MEDIA,
        folder="tests/assets",
        paths=_names(
            "burst/00000IMG_00000_BURST20201123164411530_COVER.jpg burst/20150813_160421_Burst01.jpg"
            " cluster.jpg motion/PXL_20250103_180944831.MP.jpg"
            " night_sight/PXL_20250104_170020532.NIGHT.jpg photosphere.jpg png_image.png sunset.jpg"
            " tent.jpg"
        ),
        licence=MIT,
        attribution="Ruurd Bijlsma",
    ),
    StillSource(
        package=MVTB,
        folder="mvtbdata/images",
        paths=_names(
            "building2-3.png campus/P1070494.png campus/P1070499.png campus/P1070504.png"
            " campus/P1070506.png campus/P1070510.png church.jpg eiffel-1.png flowers1.png flowers4.png"
            " flowers5.png flowers8.png image3.jpg lab-scene.png notre-dame.png parks.png road.png"
            " walls-l.png"
        ),
        licence=MIT,
        attribution="Peter Corke, Machine Vision Toolbox",
    ),
    StillSource(
        package=PALAPELI,
        folder="usr/share/palapeli/collection",
        paths=_names(
            "castle-maintenon cincinnati-bridge citrus-fruits european-honey-bee panther-chameleon-female",
            ".jpg",
        ),
        licence="GPL-2.0-or-later",
        attribution="Eric Pouhier and others, Palapeli authors",
    ),
    StillSource(
        package=SKIMAGE,
        folder="usr/lib/python3/dist-packages/skimage/data",
        paths=_names("astronaut.png chelsea.png coffee.png motorcycle_left.png rocket.jpg"),
        licence="CC0-1.0 or public domain (motorcycle: Middlebury, package BSD-3-Clause)",
        attribution="NASA, Stefan van der Walt, Rachel Michetti, D. Scharstein et al., SpaceX",
    ),
    StillSource(
        package=SKLEARN,
        folder="sklearn/datasets/images",
        paths=("china.jpg", "flower.jpg"),
        licence="CC-BY-2.0",
        attribution="danielbuechele, vultilion",
    ),
    StillSource(
        package=OPENCV,
        folder="usr/share/doc/opencv-doc/examples/data",
        paths=_names(
            "aloeL.jpg building.jpg butterfly.jpg chicky_512.png fruits.jpg home.jpg leuvenA.jpg"
            " rubberwhale1.png squirrel_cls.jpg"
        ),
        licence=APACHE,
        attribution="OpenCV contributors",
    ),
    StillSource(
        package=JXL,
        folder="usr/share/libjxl-testdata/external/wesaturate/500px",
        paths=_names(
            "cvo9xd_keong_macan_srgb8 tmshre_riaphotographs_srgb8 u76c0g_bliznaca_srgb8",
            ".png",
        ),
        licence="CC0-1.0",
        attribution="keong_macan, riaphotographs, bliznaca",
    ),
)
